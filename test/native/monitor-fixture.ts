/** What the tests of launcher and monitor share: the launcher itself, and pods whose directories and mounts it cleans up. */
import { execFile } from "node:child_process";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { startLauncher } from "../../cri-server/src/effects/native/launcher.ts";
import type { LaunchPlan, ProcessPlan } from "../../cri-server/src/model/plan.ts";
import type { ExitRecord, Monitor, MonitorHost, PodMonitorSpec } from "../../cri-server/src/ports/monitor.ts";
import { type Fixture, makeFixture, sanitizedSuffix } from "./container-fixture.ts";

const run = promisify(execFile);
const native = resolve(import.meta.dirname, "../../native");

/** One exit, whenever it comes. */
export function exitOf(monitor: Monitor, containerId: string): Promise<ExitRecord> {
  return new Promise((found) => {
    monitor.onExit((exit) => {
      if (exit.containerId === containerId) found(exit);
    });
  });
}

export class MonitorFixture {
  readonly containers: Fixture;
  readonly host: MonitorHost;
  readonly lost: string[];
  readonly #monitors: Monitor[] = [];
  #count = 0;

  constructor(containers: Fixture, host: MonitorHost, lost: string[]) {
    this.containers = containers;
    this.host = host;
    this.lost = lost;
  }

  get directory(): string {
    return this.containers.directory;
  }

  async spec(change: Partial<PodMonitorSpec> = {}): Promise<PodMonitorSpec> {
    const sandboxId = `berth-monitor-${process.pid}-${this.#count++}`;
    const podDir = join(this.directory, "pods", sandboxId);
    const netnsDir = join(this.directory, "netns");
    await mkdir(join(podDir, "shm"), { recursive: true });
    await mkdir(netnsDir, { recursive: true });
    await mkdir(join(this.directory, "exits"), { recursive: true });
    return {
      sandboxId,
      podDir,
      network: "new",
      ipc: "new",
      uts: "new",
      pidInit: false,
      userns: undefined,
      netnsPath: join(netnsDir, sandboxId),
      hostname: "berth-pod",
      sysctls: {},
      shmPath: join(podDir, "shm"),
      shmBytes: 67108864n,
      initCgroup: undefined,
      ...change,
    };
  }

  async pod(change: Partial<PodMonitorSpec> = {}): Promise<{ spec: PodMonitorSpec; monitor: Monitor }> {
    const spec = await this.spec(change);
    const monitor = await this.host.spawn(spec);
    this.#monitors.push(monitor);
    return { spec, monitor };
  }

  /** A plan of `sh -c script` in the pod's namespaces, with a log. */
  plan(
    script: string,
    change: Partial<LaunchPlan> = {},
    process: Partial<ProcessPlan> = {},
  ): Promise<LaunchPlan> {
    const logPath = join(this.directory, `log-${this.#count++}`);
    return this.containers.plan(
      script,
      {
        namespaces: { network: "pod", ipc: "pod", uts: "pod", pid: "new", cgroup: "new", user: "host" },
        io: { stdin: false, stdinOnce: false, logPath, maxLogLine: 16384 },
        ...change,
      },
      process,
    );
  }

  /** Creates and starts. */
  async running(monitor: Monitor, plan: LaunchPlan): Promise<void> {
    await monitor.create(plan);
    await monitor.start(plan.containerId);
  }

  async cleanUp(): Promise<void> {
    for (const monitor of this.#monitors) await monitor.shutdown();
    await this.host.close();
    const mounts = await readFile("/proc/self/mountinfo", "utf8");
    const left = mounts.split("\n").filter((line) => line.includes(this.directory));
    for (const line of left) await run("umount", ["-l", line.split(" ")[4] ?? ""]);
    await this.containers.cleanUp();
    await rm(this.directory, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`mounts were left:\n${left.join("\n")}`);
  }
}

/** Runs the program where the host's file system can't be written to, but for one directory. */
async function confined(program: string, directory: string): Promise<string> {
  const script = join(directory, "confined");
  const inside = `mount --bind ${directory} ${directory} && mount -o remount,bind,ro / && exec ${program} "$@"`;
  await writeFile(
    script,
    `#!/bin/sh\nexec /usr/bin/unshare -m --propagation private /bin/sh -c '${inside}' sh "$@"\n`,
  );
  await chmod(script, 0o755);
  return script;
}

/** `confine`: for tests that make native code do what nobody can foresee. */
export async function makeMonitorFixture(poolSize = 2, confine = false): Promise<MonitorFixture> {
  await run("make", ["-s", "-C", native, "build/berth-native"], { timeout: 120_000 });
  const containers = await makeFixture();
  const built = join(native, `build/berth-native${sanitizedSuffix}`);
  const program = confine ? await confined(built, containers.directory) : built;
  const lost: string[] = [];
  const host = await startLauncher({ program, poolSize, onLost: (reason) => lost.push(reason) });
  return new MonitorFixture(containers, host, lost);
}
