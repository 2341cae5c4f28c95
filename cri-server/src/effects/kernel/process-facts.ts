import { readdir, readFile, readlink, stat } from "node:fs/promises";
import type { Inspection, MountFacts, NamespaceInodes, ProcessFacts } from "../../ports/inspection.ts";
import { namespaceKinds } from "../../ports/inspection.ts";
import { errnoOf } from "./cgroup-files.ts";
import { parseMountInfo } from "./mountinfo.ts";

/** How a network looks is the CNI plugin's to say: it has the sockets for it. */
export type NetworkInspection = Pick<Inspection, "network" | "hostPorts">;

/** Looks at processes through /proc. */
export async function createInspection(network: NetworkInspection): Promise<Inspection> {
  const ownNamespaces = await namespacesOf("/proc/self/ns");
  const own = new Set(Object.values(ownNamespaces));
  return {
    ownNamespaces,
    process: readProcess,
    heldNamespaces: async (pid) => {
      const [inside, open] = await Promise.all([namespacesOf(`/proc/${pid}/ns`), openNamespaces(pid)]);
      // A monitor is in the host's own and holds its pod's by descriptors.
      const held = Object.entries({ ...inside, ...open });
      return Object.fromEntries(held.filter(([, inode]) => !own.has(inode)));
    },
    pinned: pinnedInode,
    mounts: readMounts,
    fileSize: async (path) => (await orGone(stat(path)))?.size,
    network: network.network,
    hostPorts: network.hostPorts,
  };
}

/** Without CAP_SYS_PTRACE a monitor's links can't be read: then it shows nothing, as if it were gone. */
const gone: ReadonlySet<string> = new Set(["ENOENT", "ESRCH", "ENOTDIR", "EACCES", "EPERM"]);

/** A process may end between any two looks at it. */
async function orGone<T>(value: Promise<T>): Promise<T | undefined> {
  try {
    return await value;
  } catch (error) {
    if (gone.has(errnoOf(error))) return undefined;
    throw error;
  }
}

function inodeOf(link: string): string | undefined {
  return /:\[(\d+)\]$/.exec(link)?.[1];
}

async function namespacesOf(directory: string): Promise<NamespaceInodes> {
  const entries = await Promise.all(
    namespaceKinds.map(async (kind) => {
      const inode = inodeOf((await orGone(readlink(`${directory}/${kind}`))) ?? "");
      return inode === undefined ? [] : [[kind, inode] as const];
    }),
  );
  return Object.fromEntries(entries.flat());
}

async function openNamespaces(pid: number): Promise<NamespaceInodes> {
  const directory = `/proc/${pid}/fd`;
  const names = (await orGone(readdir(directory))) ?? [];
  const links = await Promise.all(names.map((name) => orGone(readlink(`${directory}/${name}`))));
  const found: Record<string, string> = {};
  for (const link of links) {
    const kind = namespaceKinds.find((known) => link?.startsWith(`${known}:[`));
    const inode = inodeOf(link ?? "");
    if (kind !== undefined && inode !== undefined) found[kind] = inode;
  }
  return found;
}

async function pinnedInode(path: string): Promise<string | undefined> {
  const mounts = parseMountInfo(await readFile("/proc/self/mountinfo", "utf8"));
  const pin = mounts.findLast(({ mountpoint }) => mountpoint === path);
  return pin?.fsType === "nsfs" ? inodeOf(pin.root) : undefined;
}

/** The fields of /proc/PID/stat behind the name, which may hold blanks and brackets itself. */
function statFields(text: string): readonly string[] {
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

async function readProcess(pid: number): Promise<ProcessFacts | undefined> {
  const directory = `/proc/${pid}`;
  const [statText, status, command, namespaces, lsm] = await Promise.all([
    orGone(readFile(`${directory}/stat`, "latin1")),
    orGone(readFile(`${directory}/status`, "latin1")),
    orGone(readFile(`${directory}/cmdline`, "utf8")),
    namespacesOf(`${directory}/ns`),
    readLabel(directory),
  ]);
  if (statText === undefined || status === undefined) return undefined;
  const field = (name: string): string =>
    new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1]?.trim() ?? "";
  const bits = (name: string): bigint => BigInt(`0x${field(name) || "0"}`);
  const fields = statFields(statText);
  const modes = ["none", "strict", "filter"] as const;
  return {
    pid,
    startTime: BigInt(fields[19] ?? "0"),
    command: (command ?? "").split("\0").join(" ").trim() || field("Name"),
    state: fields[0] ?? "?",
    residentBytes: Number(field("VmRSS").split(" ")[0] ?? "0") * 1024,
    uid: Number(field("Uid").split("\t")[0]),
    gid: Number(field("Gid").split("\t")[0]),
    namespaces,
    effective: bits("CapEff"),
    bounding: bits("CapBnd"),
    ambient: bits("CapAmb"),
    noNewPrivileges: field("NoNewPrivs") === "1",
    seccomp: modes[Number(field("Seccomp"))] ?? "none",
    seccompFilters: Number(field("Seccomp_filters") || "0"),
    lsm,
  };
}

/** Without a module that has labels, reading one is EINVAL. */
async function readLabel(directory: string): Promise<string> {
  try {
    const text = await readFile(`${directory}/attr/current`, "latin1");
    return text.replace(/[\0\n]+$/, "");
  } catch (error) {
    if (gone.has(errnoOf(error)) || errnoOf(error) === "EINVAL") return "";
    throw error;
  }
}

async function readMounts(pid: number): Promise<readonly MountFacts[]> {
  const text = (await orGone(readFile(`/proc/${pid}/mountinfo`, "utf8"))) ?? "";
  return parseMountInfo(text).map((mount) => {
    const named = (name: string): readonly string[] =>
      mount.superOptions.flatMap((option) => (option.startsWith(name) ? [option.slice(name.length)] : []));
    const isOverlay = mount.fsType === "overlay";
    const layers = [...named("lowerdir="), ...named("lowerdir+=")];
    return {
      target: mount.mountpoint,
      type: mount.fsType,
      source: mount.root === "/" ? mount.source : `${mount.source}[${mount.root}]`,
      options: [...mount.options, ...mount.propagation].join(","),
      lower: isOverlay ? layers.flatMap((layer) => layer.split(":")) : [],
      upper: isOverlay ? (named("upperdir=")[0] ?? "") : "",
    };
  });
}
