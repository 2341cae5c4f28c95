/** What the tests of the native child code share: an image of busybox, a plan to vary, and the driver's way of talking. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { encodeExecPlan, encodeLaunchPlan } from "../../cri-server/src/effects/native/encode-plan.ts";
import type {
  CgroupPlan,
  ExecPlan,
  LaunchPlan,
  ProcessPlan,
  RootOp,
} from "../../cri-server/src/model/plan.ts";

const run = promisify(execFile);
const native = resolve(import.meta.dirname, "../../native");

/** What the driver printed: one object a line, told apart by `event`. */
export interface DriverEvent {
  readonly event: string;
  readonly pid?: number;
  readonly errno?: number;
  readonly stage?: string;
  readonly text?: string;
  readonly warning?: string;
  readonly terminal?: boolean;
  readonly out?: string;
  readonly err?: string;
  readonly code?: number;
  readonly min?: number;
  readonly p50?: number;
}

export const defaultCapabilities = 0xa80425fbn;
export const allCapabilities = 0x1ffffffffffn;

export interface Fixture {
  readonly directory: string;
  readonly layer: string;
  /** A fresh plan of `sh -c script`; `change` gets it before it is used. */
  plan(script: string, change?: Partial<LaunchPlan>, process?: Partial<ProcessPlan>): Promise<LaunchPlan>;
  exec(plan: LaunchPlan, args: readonly string[], change?: Partial<ProcessPlan>): ExecPlan;
  /** Runs the driver; plans among the arguments become files. */
  drive(...args: readonly (string | LaunchPlan | ExecPlan)[]): Promise<readonly DriverEvent[]>;
  /** create, start, wait: the container's exit event, or the failure. */
  result(plan: LaunchPlan, ...pod: readonly string[]): Promise<DriverEvent>;
  cleanUp(): Promise<void>;
}

/** The cgroup versions of this machine; a hybrid one has both. */
export const versions: readonly (1 | 2)[] = existsSync("/sys/fs/cgroup/cgroup.controllers") ? [2] : [1, 2];
const v2Root = versions.length === 1 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";

/** hack/test's part `sanitized` runs the same tests with the ASan/UBSan builds. */
export const sanitizedSuffix = process.env.BERTH_SANITIZED === undefined ? "" : "-sanitized";

/** User-mode Linux and sanitized builds are right, not fast. */
export const isSlow =
  process.env.BERTH_SANITIZED !== undefined ||
  readFileSync("/proc/cpuinfo", "utf8").includes("User Mode Linux");
export const hasTimeNamespaces = existsSync("/proc/self/ns/time");

/** Where the hierarchy's owner gives its groups no controller, as on a fresh hybrid machine, none of them can delegate one. */
export const hasDelegation = readFileSync(`${v2Root}/cgroup.subtree_control`, "utf8").trim() !== "";

/** Where other programs mount things too, only what is ours can be told to have stayed the same. */
export async function mountTable(): Promise<string> {
  const all = await readFile("/proc/self/mountinfo", "utf8");
  if (process.env.BERTH_TEST_CGROUP !== undefined) return all;
  return all
    .split("\n")
    .filter((line) => line.includes("berth-child"))
    .join("\n");
}

/** Hierarchies of this machine that a process can join without further settings. */
const hierarchies = ["cpu", "cpuacct", "memory", "devices", "freezer", "blkio", "pids", "systemd"];

export function cgroupFor(version: 1 | 2, name: string): CgroupPlan {
  const parents = version === 2 ? [v2Root] : hierarchies.map((each) => `/sys/fs/cgroup/${each}`);
  const groups = parents.map((each) => `${each}/${name}`);
  return { version, mkdirs: groups, writes: [], join: groups, oomFile: "", deviceProgramFd: undefined };
}

const device = (name: string, major: number, minor: number): RootOp => ({
  op: "device",
  target: `/dev/${name}`,
  type: "c",
  major,
  minor,
  mode: 0o666,
  uid: 0,
  gid: 0,
});

const safe = { nosuid: true, nodev: true, noexec: true };

export const defaultOps: readonly RootOp[] = [
  { op: "fs", type: "proc", target: "/proc", attributes: safe, options: [] },
  {
    op: "fs",
    type: "tmpfs",
    target: "/dev",
    attributes: { nosuid: true },
    options: [
      ["mode", "0755"],
      ["size", "65536k"],
    ],
  },
  {
    op: "fs",
    type: "devpts",
    target: "/dev/pts",
    attributes: { nosuid: true, noexec: true },
    options: [["newinstance"], ["ptmxmode", "0666"], ["mode", "0620"], ["gid", "5"]],
  },
  { op: "fs", type: "mqueue", target: "/dev/mqueue", attributes: safe, options: [] },
  { op: "fs", type: "sysfs", target: "/sys", attributes: { ...safe, readonly: true }, options: [] },
  device("null", 1, 3),
  device("zero", 1, 5),
  device("full", 1, 7),
  device("random", 1, 8),
  device("urandom", 1, 9),
  device("tty", 5, 0),
  { op: "symlink", target: "/dev/ptmx", to: "pts/ptmx" },
  { op: "symlink", target: "/dev/fd", to: "/proc/self/fd" },
  { op: "symlink", target: "/dev/stdin", to: "/proc/self/fd/0" },
  { op: "symlink", target: "/dev/stdout", to: "/proc/self/fd/1" },
  { op: "symlink", target: "/dev/stderr", to: "/proc/self/fd/2" },
  { op: "mask", target: "/proc/kcore" },
  { op: "mask", target: "/proc/acpi" },
  { op: "mask", target: "/sys/firmware" },
  { op: "mask", target: "/proc/scsi" },
  { op: "mask", target: "/proc/timer_list" },
  { op: "readonly", target: "/proc/sys" },
  { op: "readonly", target: "/proc/sysrq-trigger" },
];

/** A container without /proc, /dev and the rest, for what a container's own shell can't be asked. */
export const bindOf = (
  source: string,
  target: string,
  change: Partial<Extract<RootOp, { op: "bind" }>> = {},
): RootOp => ({
  op: "bind",
  source,
  target,
  recursive: true,
  attributes: {},
  recursiveReadOnly: false,
  propagation: "private",
  requireShared: false,
  requireSlave: false,
  idmap: false,
  create: true,
  ...change,
});

async function busyboxLayer(layer: string): Promise<void> {
  for (const name of ["bin", "etc", "tmp", "proc", "sys", "dev", "root"])
    await mkdir(join(layer, name), { recursive: true });
  await chmod(join(layer, "tmp"), 0o1777);
  await copyFile("/bin/busybox", join(layer, "bin/busybox"));
  const { stdout } = await run("/bin/busybox", ["--list"]);
  for (const name of stdout.split("\n")) {
    if (name !== "" && name !== "busybox") await symlink("busybox", join(layer, "bin", name));
  }
  await writeFile(join(layer, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  await writeFile(join(layer, "etc/notexec"), "text\n", { mode: 0o644 });
}

function processOf(args: readonly string[], change: Partial<ProcessPlan>): ProcessPlan {
  return {
    args,
    env: ["PATH=/usr/bin:/bin", "HOME=/root"],
    cwd: "/",
    uid: 0,
    gid: 0,
    groups: [],
    umask: 0o022,
    capabilities: {
      bounding: defaultCapabilities,
      effective: defaultCapabilities,
      permitted: defaultCapabilities,
      inheritable: 0n,
      ambient: 0n,
    },
    noNewPrivileges: true,
    seccomp: new Uint8Array(),
    apparmor: "",
    selinux: "",
    rlimits: [],
    oomScoreAdj: undefined,
    tty: false,
    ...change,
  };
}

class TestFixture implements Fixture {
  readonly directory: string;
  readonly layer: string;
  readonly #driver: string;
  readonly #version: 1 | 2;
  readonly #groups: string[] = [];
  #count = 0;

  constructor(directory: string, driver: string, version: 1 | 2) {
    this.directory = directory;
    this.layer = join(directory, "layers/0123456789abcdef01234567");
    this.#driver = driver;
    this.#version = version;
  }

  async plan(
    script: string,
    change: Partial<LaunchPlan> = {},
    process: Partial<ProcessPlan> = {},
  ): Promise<LaunchPlan> {
    const name = `berth-child-${globalThis.process.pid}-${this.#count++}`;
    const upper = join(this.directory, "containers", name, "upper");
    const work = join(this.directory, "containers", name, "work");
    await mkdir(upper, { recursive: true });
    await mkdir(work, { recursive: true });
    const cgroup = change.cgroup ?? cgroupFor(this.#version, name);
    this.#groups.push(...cgroup.mkdirs);
    return {
      containerId: name,
      namespaces: { network: "host", ipc: "host", uts: "host", pid: "new", cgroup: "new", user: "host" },
      rootfs: { lower: [this.layer], upper, work, volatile: true, readonly: false, propagation: "private" },
      ops: defaultOps,
      process: processOf(["sh", "-c", script], process),
      io: { stdin: false, stdinOnce: false, logPath: "", maxLogLine: 16384 },
      exitFile: join(this.directory, "exits", name),
      ...change,
      cgroup,
    };
  }

  exec(plan: LaunchPlan, args: readonly string[], change: Partial<ProcessPlan> = {}): ExecPlan {
    return { containerId: plan.containerId, cgroup: plan.cgroup, process: processOf(args, change) };
  }

  async drive(...args: readonly (string | LaunchPlan | ExecPlan)[]): Promise<readonly DriverEvent[]> {
    const words: string[] = [];
    for (const arg of args) {
      if (typeof arg === "string") {
        words.push(arg);
        continue;
      }
      const file = join(this.directory, `plan-${this.#count++}`);
      await writeFile(file, "rootfs" in arg ? encodeLaunchPlan(arg) : encodeExecPlan(arg));
      words.push(file);
    }
    const { stdout } = await run(this.#driver, words, { maxBuffer: 1 << 24, timeout: 30_000 });
    return stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line): DriverEvent => JSON.parse(line));
  }

  async result(plan: LaunchPlan, ...pod: readonly string[]): Promise<DriverEvent> {
    const events = await this.drive(...pod, "--create", plan, "--start", "--wait");
    const found = events.find(
      ({ event }) => event === "exit" || event.endsWith("failed") || event.endsWith("died"),
    );
    if (found === undefined) throw new Error(`no end in ${JSON.stringify(events)}`);
    return found;
  }

  async cleanUp(): Promise<void> {
    for (const group of this.#groups.reverse()) {
      for (let tries = 0; tries < 50; tries++) {
        try {
          await rmdir(group);
          break;
        } catch (error) {
          if (!(error instanceof Error && "code" in error && error.code === "EBUSY")) break;
          await new Promise((wake) => setTimeout(wake, 20));
        }
      }
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Builds the driver when it is older than its sources. */
export async function makeFixture(version: 1 | 2 = versions[0] ?? 2): Promise<Fixture> {
  await run("make", ["-s", "-C", native, "child-driver"], { timeout: 120_000 });
  const program = join(native, `build/child-driver${sanitizedSuffix}`);
  const directory = await mkdtemp(join(tmpdir(), "berth-child-"));
  await chmod(directory, 0o711);
  const fixture = new TestFixture(directory, program, version);
  await mkdir(fixture.layer, { recursive: true });
  await busyboxLayer(fixture.layer);
  return fixture;
}
