import { BerthError } from "../../../errors/berth-error.ts";
import type { ContainerConfig, ProcessFacts, ResolvedUser } from "../../../model/container.ts";
import type { ContainerId } from "../../../model/ids.ts";
import type { ImageLease } from "../../../model/image.ts";
import type { CgroupPlan, ExecPlan, LaunchPlan, ProcessPlan, RootOp } from "../../../model/plan.ts";
import type { Sandbox } from "../../../model/sandbox.ts";
import type { CdiHook } from "../../../ports/cdi.ts";
import type { CgroupView } from "../../../ports/cgroups.ts";
import type { HostFacts } from "../../../ports/host.ts";
import { resolveCapabilities } from "./capabilities.ts";
import type { MountBlock, PodFiles } from "./default-mounts.ts";
import { defaultMounts } from "./default-mounts.ts";
import type { ResolvedDevice } from "./devices.ts";
import { deviceOps } from "./devices.ts";
import { hookOps } from "./hooks.ts";
import { defaultRlimits } from "./limits.ts";

import type { BindOp } from "./mounts.ts";
import { byDepth, mountOp, rootPropagation } from "./mounts.ts";
import { resolveNamespaces } from "./namespaces.ts";
import { resolveSelinux } from "./security.ts";

/** Host paths that belong to this container alone. */
export interface ContainerPaths {
  /** Both exist. */
  readonly upper: string;
  readonly work: string;
  /** Absolute; "" writes no log. */
  readonly log: string;
  readonly exitFile: string;
  /** Made only for hooks. */
  readonly bundle: string;
}

export interface LaunchInput {
  readonly containerId: ContainerId;
  readonly config: ContainerConfig;
  readonly sandbox: Pick<Sandbox, "config">;
  readonly lease: Pick<ImageLease, "layerDirs">;
  /** Image volumes by MountRequest.image. */
  readonly volumes: ReadonlyMap<string, ImageLease>;
  readonly args: readonly string[];
  readonly user: ResolvedUser;
  readonly facts: ProcessFacts;
  readonly seccomp: Uint8Array;
  readonly devices: readonly ResolvedDevice[];
  /** Of CDI devices; they take the place of the container's own at the same targets. */
  readonly injectedMounts: readonly MountBlock[];
  readonly hooks: readonly CdiHook[];
  readonly cgroup: CgroupPlan;
  readonly cgroupView: CgroupView;
  readonly files: PodFiles;
  readonly paths: ContainerPaths;
  readonly targetPid: number | undefined;
  readonly host: HostFacts;
  readonly maxLogLineBytes: number;
}

/** The whole plan of a container's first process. Pure: everything that had to be asked for is in the input. */
export function buildLaunchPlan(input: LaunchInput): LaunchPlan {
  const { config, paths } = input;
  if (config.security.privileged && !input.sandbox.config.privileged) {
    throw new BerthError(
      "invalid-argument",
      "security_context.privileged: true, but the pod sandbox is not privileged",
    );
  }
  if (input.lease.layerDirs.length === 0) {
    throw new BerthError("invalid-argument", `image: ${JSON.stringify(config.image)} has no layers`);
  }
  return {
    containerId: input.containerId,
    namespaces: resolveNamespaces({
      config,
      podAnnotations: input.sandbox.config.annotations,
      targetPid: input.targetPid,
      host: input.host,
    }),
    cgroup: input.cgroup,
    rootfs: {
      lower: input.lease.layerDirs.toReversed(),
      upper: paths.upper,
      work: paths.work,
      volatile: true,
      readonly: config.security.readonlyRootfs,
      propagation: rootPropagation([...config.mounts, ...injectedBinds(input)]),
    },
    ops: rootOps(input),
    process: processPlan({ ...input, tty: config.tty }),
    io: {
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
      logPath: paths.log,
      maxLogLine: input.maxLogLineBytes,
    },
    exitFile: paths.exitFile,
  };
}

export interface ProcessInput {
  readonly config: Pick<ContainerConfig, "security">;
  readonly args: readonly string[];
  readonly user: ResolvedUser;
  readonly facts: ProcessFacts;
  readonly seccomp: Uint8Array;
  readonly host: HostFacts;
  readonly tty: boolean;
}

/** One process of a container, the first or a further one: the same rules for both, so that exec gains nothing. */
export function processPlan(input: ProcessInput): ProcessPlan {
  const { config, user, facts, host } = input;
  const { security } = config;
  return {
    args: input.args,
    env: facts.env,
    cwd: facts.cwd,
    uid: user.uid,
    gid: user.gid,
    groups: user.groups,
    umask: 0o022,
    capabilities: resolveCapabilities(security, host.boundingCapabilities),
    // A privileged container is meant to gain privileges; CRI's flag is ignored there as by the other runtimes.
    noNewPrivileges: security.noNewPrivileges && !security.privileged,
    seccomp: input.seccomp,
    apparmor: facts.apparmor,
    selinux: resolveSelinux(security, host),
    rlimits: defaultRlimits(host),
    oomScoreAdj: facts.oomScoreAdj,
    tty: input.tty,
  };
}

export interface ExecInput extends ProcessInput {
  readonly containerId: ContainerId;
  readonly cgroup: ExecPlan["cgroup"];
}

/** The plan of a further process in a running container. */
export function buildExecPlan(input: ExecInput): ExecPlan {
  if (input.args.length === 0 || input.args[0] === "") {
    throw new BerthError("invalid-argument", "cmd: is empty");
  }
  if (input.args.some((arg) => arg.includes("\0"))) {
    throw new BerthError("invalid-argument", "cmd: contains a NUL byte");
  }
  const env = input.tty && !input.facts.env.some((entry) => entry.startsWith("TERM="));
  const facts = env ? { ...input.facts, env: [...input.facts.env, "TERM=xterm"] } : input.facts;
  return {
    containerId: input.containerId,
    cgroup: input.cgroup,
    process: processPlan({ ...input, facts }),
  };
}

function rootOps(input: LaunchInput): readonly RootOp[] {
  const { config, sandbox, host } = input;
  const { security } = config;
  const userns = security.namespaces.userns;
  const injected = new Set(input.injectedMounts.map((block) => block.target));
  const own = config.mounts.map((mount): MountBlock => {
    const op = mountOp(mount, { volumes: input.volumes, userns, host });
    return { target: op.target, ops: [op] };
  });
  const requested = [...own.filter((block) => !injected.has(block.target)), ...input.injectedMounts];
  const taken = new Set(requested.map((block) => block.target));
  const defaults = defaultMounts({
    namespaces: resolveNamespaces({
      config,
      podAnnotations: sandbox.config.annotations,
      targetPid: input.targetPid,
      host,
    }),
    userns,
    privileged: security.privileged,
    readonlyRootfs: security.readonlyRootfs,
    cgroup: input.cgroupView,
    files: input.files,
  }).filter((block) => !taken.has(block.target));
  const blocks = byDepth([...defaults, ...requested]);
  // A bind of the host's /dev brings its own nodes, and what we'd make there would land on the host.
  const devices = taken.has("/dev") ? [] : deviceOps(input.devices, userns !== undefined);
  const dev = blocks.findIndex((block) => block.target === "/dev");
  const mounts = blocks.flatMap((block) => block.ops);
  const before = blocks.slice(0, dev + 1).flatMap((block) => block.ops);
  return [
    ...before,
    ...devices,
    ...mounts.slice(before.length),
    ...hookOps(input.hooks, {
      containerId: input.containerId,
      annotations: config.annotations,
      bundle: input.paths.bundle,
    }),
    ...(security.privileged ? [] : pathOps(security.maskedPaths, security.readonlyPaths)),
  ];
}

function injectedBinds({ injectedMounts }: LaunchInput): readonly BindOp[] {
  return injectedMounts.flatMap((block) => block.ops).filter((op) => op.op === "bind");
}

function pathOps(masked: readonly string[], readonly: readonly string[]): readonly RootOp[] {
  return [
    ...readonly.map((target): RootOp => ({ op: "readonly", target: absolute(target, "readonly_paths") })),
    ...masked.map((target): RootOp => ({ op: "mask", target: absolute(target, "masked_paths") })),
  ];
}

function absolute(path: string, field: string): string {
  if (path.startsWith("/") && !path.includes("\0")) return path;
  throw new BerthError(
    "invalid-argument",
    `security_context.${field}: ${JSON.stringify(path)} is not an absolute path`,
  );
}
