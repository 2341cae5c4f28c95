import { access, mkdir, open, readdir, readFile, readlink, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import koffi from "koffi";
import { BerthError } from "../../errors/berth-error.ts";
import type { Pin, Upkeep } from "../../ports/upkeep.ts";
import { errnoOf, killQuietly } from "./cgroup-files.ts";
import { detachMount } from "./detach-mount.ts";
import { parseMountInfo } from "./mountinfo.ts";

export interface UpkeepOptions {
  readonly state: string;
  readonly netnsDir: string;
  /** What the CNI plugin has marked as somebody's. */
  readonly owned: Upkeep["owned"];
}

/** See effects/store/pod-storage.ts. */
const pinName = /^berth-([0-9a-f]{64})$/;

/** Looks through mounts and processes for what is left of pods, and puts right what can be. */
export function createUpkeep(options: UpkeepOptions): Upkeep {
  return {
    pins: async () => await pinsIn(options.netnsDir),
    namespacesInUse: async (inodes) => await inUse(new Set(inodes)),
    monitors: async () => await monitorsOf(join(options.state, "pods")),
    isMounted: async (path) => (await mounts()).some(({ mountpoint }) => mountpoint === path),
    exists,
    owned: options.owned,
    pin,
    unpin: async (path) => {
      detachMount(path);
      await rm(path, { force: true });
    },
    mountShm: async (path, bytes, owner) => {
      await mkdir(path, { recursive: true, mode: 0o755 });
      mount(
        "shm",
        path,
        "tmpfs",
        nosuid | nodev | noexec,
        `mode=1777,size=${bytes},uid=${owner},gid=${owner}`,
      );
    },
    killTree: async (pid) => {
      // Stopped, it neither starts anything more nor writes down how its children ended.
      stopQuietly(pid);
      await killTree(pid);
    },
  };
}

async function mounts() {
  return parseMountInfo(await readFile("/proc/self/mountinfo", "utf8"));
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (gone.has(errnoOf(error))) return false;
    throw error;
  }
}

const gone: ReadonlySet<string> = new Set(["ENOENT", "ESRCH", "ENOTDIR"]);

async function orGone<T>(value: Promise<T>, fallback: T): Promise<T> {
  try {
    return await value;
  } catch (error) {
    if (gone.has(errnoOf(error))) return fallback;
    throw error;
  }
}

/** What can't be looked at for want of CAP_SYS_PTRACE is taken for somebody else's. */
async function orHidden(link: Promise<string>): Promise<string> {
  try {
    return await orGone(link, "");
  } catch (error) {
    if (["EACCES", "EPERM"].includes(errnoOf(error))) return "";
    throw error;
  }
}

async function pinsIn(directory: string): Promise<readonly Pin[]> {
  const [names, mounted] = await Promise.all([orGone(readdir(directory), []), mounts()]);
  return names.flatMap((name) => {
    const sandboxId = pinName.exec(name)?.[1];
    if (sandboxId === undefined) return [];
    const path = join(directory, name);
    const top = mounted.findLast(({ mountpoint }) => mountpoint === path);
    return [{ sandboxId, path, inode: /^net:\[(\d+)\]$/.exec(top?.root ?? "")?.[1] }];
  });
}

async function processes(): Promise<readonly number[]> {
  return (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
}

async function netLinks(pid: number): Promise<readonly { readonly path: string; readonly link: string }[]> {
  const names = await orGone(readdir(`/proc/${pid}/fd`), []);
  const paths = [`/proc/${pid}/ns/net`, ...names.map((name) => `/proc/${pid}/fd/${name}`)];
  const links = await Promise.all(
    paths.map(async (path) => ({ path, link: await orGone(readlink(path), "") })),
  );
  return links.filter(({ link }) => link.startsWith("net:["));
}

async function inUse(inodes: ReadonlySet<string>): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  if (inodes.size === 0) return found;
  try {
    for (const pid of await processes()) {
      for (const { link } of await netLinks(pid)) {
        const inode = link.slice("net:[".length, -1);
        if (inodes.has(inode)) found.add(inode);
      }
    }
    return found;
  } catch (error) {
    // Without CAP_SYS_PTRACE nobody can tell, and what may be in use is left alone.
    if (["EACCES", "EPERM"].includes(errnoOf(error))) return inodes;
    throw error;
  }
}

/** A monitor's name has its pod's id; whose it is, its own log tells, which it keeps open in the pod's directory. */
async function monitorsOf(podsDir: string): ReturnType<Upkeep["monitors"]> {
  const found: { readonly pid: number; readonly sandboxId: string }[] = [];
  for (const pid of await processes()) {
    const words = await orGone(readFile(`/proc/${pid}/cmdline`, "utf8"), "");
    const sandboxId = /^berth-monitor ([0-9a-f]{64})\0*$/.exec(words)?.[1];
    if (sandboxId === undefined) continue;
    const log = await orHidden(readlink(`/proc/${pid}/fd/2`));
    if (log.replace(/ \(deleted\)$/, "") === join(podsDir, sandboxId, "monitor.log"))
      found.push({ pid, sandboxId });
  }
  return found;
}

const libc = koffi.load("libc.so.6");
const cMount = libc.func(
  "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options)",
);
const nosuid = 2;
const nodev = 4;
const noexec = 8;
const bind = 4096;

function mount(source: string, target: string, type: string, flags: number, options: string): void {
  if (cMount(source, target, type, flags, options) !== 0) {
    throw new BerthError("internal", `mount ${target}: errno ${koffi.errno()}`);
  }
}

async function pin(monitorPid: number, path: string): Promise<void> {
  const home = await readlink("/proc/self/ns/net");
  const held = (await netLinks(monitorPid)).find((one) => one.path.includes("/fd/") && one.link !== home);
  if (held === undefined) {
    throw new BerthError("internal", `monitor ${monitorPid} holds no network namespace of a pod`);
  }
  detachMount(path);
  await rm(path, { force: true });
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  await (await open(path, "wx", 0o444)).close();
  mount(held.path, path, "", bind, "");
}

function stopQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGSTOP");
  } catch (error) {
    if (errnoOf(error) !== "ESRCH") throw error;
  }
}

/** Children first, so that none becomes somebody else's before it is found. */
async function killTree(pid: number): Promise<void> {
  const tasks = await orGone(readdir(`/proc/${pid}/task`), []);
  for (const task of tasks) {
    const children = await orGone(readFile(`/proc/${pid}/task/${task}/children`, "latin1"), "");
    for (const child of children.trim().split(" ").filter(Boolean)) await killTree(Number(child));
  }
  killQuietly(pid);
}
