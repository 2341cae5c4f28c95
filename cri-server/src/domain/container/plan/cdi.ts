import { BerthError } from "../../../errors/berth-error.ts";
import type { ContainerConfig, ResolvedUser } from "../../../model/container.ts";
import type { MountAttributes, Propagation } from "../../../model/plan.ts";
import type { CdiDeviceNode, CdiDevices, CdiEdits, CdiHook, CdiMount } from "../../../ports/cdi.ts";
import type { HostFacts, HostFiles } from "../../../ports/host.ts";
import type { MountBlock } from "./default-mounts.ts";
import type { ResolvedDevice } from "./devices.ts";
import { bindOp, mountTarget } from "./mounts.ts";

/** What CDI devices add to a plan. */
export interface CdiInjection {
  readonly env: readonly string[];
  readonly devices: readonly ResolvedDevice[];
  readonly mounts: readonly MountBlock[];
  readonly groups: readonly number[];
  readonly hooks: readonly CdiHook[];
}

interface CdiDeps {
  readonly cdi: CdiDevices;
  readonly files: HostFiles;
  readonly host: Pick<HostFacts, "idmappedMounts" | "recursiveReadOnlyMounts">;
}

/** Turns the edits of the container's CDI devices into parts of the plan. Later edits win at the same place. */
export async function injectCdi(
  deps: CdiDeps,
  config: ContainerConfig,
  user: Pick<ResolvedUser, "uid" | "gid">,
): Promise<CdiInjection> {
  const edits = await deps.cdi.resolve(config.cdiDevices);
  for (const { source, refused } of edits) {
    if (refused.length === 0) continue;
    throw new BerthError("unimplemented", `CDI_devices: ${source}: not offered: ${refused.join(", ")}`);
  }
  const inUserns = config.security.namespaces.userns !== undefined;
  const devices = await Promise.all(
    edits.flatMap(({ source, deviceNodes }) =>
      deviceNodes.map((node) => toDevice(deps.files, source, node, user)),
    ),
  );
  const mounts = edits.flatMap(({ source, mounts }) =>
    mounts.map((mount) => toBlock(deps.host, source, mount, inUserns)),
  );
  await Promise.all(
    edits.flatMap((edit) => [checkSources(deps.files, edit), checkHooks(deps.files, edit, inUserns)]),
  );
  return {
    env: edits.flatMap(({ env }) => env),
    devices: lastOf(devices),
    mounts: lastOf(mounts),
    groups: edits.flatMap(({ additionalGids }) => additionalGids),
    hooks: edits.flatMap(({ hooks }) => hooks),
  };
}

function lastOf<T extends { readonly target: string }>(items: readonly T[]): readonly T[] {
  return [...new Map(items.map((item) => [item.target, item])).values()];
}

/** What the spec leaves out (type, numbers) is as the host has it; modes and owners are the container's own matter. */
async function toDevice(
  files: HostFiles,
  source: string,
  wanted: CdiDeviceNode,
  user: Pick<ResolvedUser, "uid" | "gid">,
): Promise<ResolvedDevice> {
  const numbers =
    wanted.type !== undefined && (wanted.major !== 0 || wanted.type === "p")
      ? { type: wanted.type, major: wanted.major, minor: wanted.minor }
      : await hostNumbers(files, source, wanted);
  return {
    target: wanted.path,
    node: {
      path: wanted.hostPath,
      ...numbers,
      mode: (wanted.mode ?? 0o666) & 0o7777,
      uid: wanted.uid ?? user.uid,
      gid: wanted.gid ?? user.gid,
    },
    access: wanted.access,
  };
}

async function hostNumbers(files: HostFiles, source: string, wanted: CdiDeviceNode) {
  const where = `${source}: deviceNodes: ${JSON.stringify(wanted.hostPath)}`;
  if ((await files.kindOf(wanted.hostPath)) !== "other") {
    throw new BerthError("invalid-argument", `CDI_devices: ${where} is not a device of this machine`);
  }
  const [node] = await files.devices(wanted.hostPath);
  if (node === undefined) {
    throw new BerthError("invalid-argument", `CDI_devices: ${where} is not a device of this machine`);
  }
  if (wanted.type !== undefined && wanted.type !== node.type) {
    throw new BerthError("invalid-argument", `CDI_devices: ${where} is a ${node.type}, not a ${wanted.type}`);
  }
  return wanted.major === 0
    ? { type: node.type, major: node.major, minor: node.minor }
    : { type: node.type, major: wanted.major, minor: wanted.minor };
}

/** Options of mount(8) that say what is the case anyway. */
const neutral: ReadonlySet<string> = new Set(["rw", "suid", "dev", "exec", "bind", "rbind", "relatime"]);
const propagations: ReadonlyMap<string, Propagation> = new Map([
  ["private", "private"],
  ["rprivate", "private"],
  ["slave", "rslave"],
  ["rslave", "rslave"],
  ["shared", "rshared"],
  ["rshared", "rshared"],
]);

function toBlock(host: CdiDeps["host"], source: string, mount: CdiMount, inUserns: boolean): MountBlock {
  const target = mountTarget(mount);
  const { options, type } = mount;
  const attributes: MountAttributes = {
    ...(options.includes("ro") || options.includes("rro") ? { readonly: true } : {}),
    ...(options.includes("nosuid") ? { nosuid: true } : {}),
    ...(options.includes("nodev") ? { nodev: true } : {}),
    ...(options.includes("noexec") ? { noexec: true } : {}),
  };
  const rest = options.filter(
    (option) => !["ro", "rro", "nosuid", "nodev", "noexec"].includes(option) && !neutral.has(option),
  );
  switch (type) {
    case "":
    case "none":
    case "bind": {
      const propagation = rest.map((option) => propagations.get(option) ?? refuse(source, target, option));
      const recursiveReadOnly = options.includes("rro");
      if (recursiveReadOnly && !host.recursiveReadOnlyMounts) refuse(source, target, "rro");
      const op = {
        ...bindOp(mount.hostPath, target, attributes, options.includes("rbind")),
        recursiveReadOnly,
        propagation: propagation.at(-1) ?? "private",
        idmap: inUserns && host.idmappedMounts,
      };
      return { target, ops: [op] };
    }
    case "tmpfs": {
      const values = rest.map((option): readonly [string, string] => {
        const match = /^(size|mode|nr_inodes|nr_blocks|uid|gid)=(.+)$/.exec(option);
        return [match?.[1] ?? refuse(source, target, option), match?.[2] ?? ""];
      });
      return { target, ops: [{ op: "fs", type: "tmpfs", target, attributes, options: values }] };
    }
    default:
      throw new BerthError(
        "unimplemented",
        `CDI_devices: ${source}: mounts: ${target}: type ${JSON.stringify(type)} is not offered`,
      );
  }
}

function refuse(source: string, target: string, option: string): never {
  throw new BerthError(
    "unimplemented",
    `CDI_devices: ${source}: mounts: ${target}: option ${JSON.stringify(option)} is not offered`,
  );
}

async function checkSources(files: HostFiles, { source, mounts }: CdiEdits): Promise<void> {
  for (const { hostPath, containerPath, type } of mounts) {
    if (type === "tmpfs") continue;
    const isThere = hostPath.startsWith("/") && (await files.kindOf(hostPath)) !== undefined;
    if (isThere) continue;
    throw new BerthError(
      "invalid-argument",
      `CDI_devices: ${source}: mounts: ${JSON.stringify(hostPath)} (for ${containerPath}) does not exist`,
    );
  }
}

/** Hooks are the host's programs: root of a user namespace could do nothing of what they are for. */
async function checkHooks(files: HostFiles, { source, hooks }: CdiEdits, inUserns: boolean): Promise<void> {
  for (const { path } of hooks) {
    const where = `CDI_devices: ${source}: hooks: ${JSON.stringify(path)}`;
    if (inUserns) throw new BerthError("unimplemented", `${where} is not offered in a user namespace`);
    if ((await files.kindOf(path)) === "file") continue;
    throw new BerthError("invalid-argument", `${where} is not a program of this machine`);
  }
}
