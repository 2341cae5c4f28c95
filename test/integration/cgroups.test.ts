import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { bpf } from "../../cri-server/src/effects/kernel/libc.ts";
import { openCgroups } from "../../cri-server/src/effects/kernel/open-cgroups.ts";
import type { CgroupPlan } from "../../cri-server/src/model/plan.ts";
import type { Cgroups, DeviceRule } from "../../cri-server/src/ports/cgroups.ts";

const root = "/berth-test-plan-cgroups";
const clock = { now: () => BigInt(Date.now()) * 1_000_000n };
const noDevices: readonly DeviceRule[] = [
  { allow: false, type: "a", major: undefined, minor: undefined, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
];

let cgroups: Cgroups;
let made: readonly string[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  cgroups = await openCgroups({ defaultParent: "/berth", driver: "auto", clock });
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const name of ["a", "b"]) {
    await cgroups.killAll(`${root}/${name}`);
    await cgroups.remove(`${root}/${name}`);
  }
  await cgroups.removeParent(made);
  made = [];
});

/** What the native side does with a plan. */
function apply(plan: CgroupPlan): void {
  for (const directory of plan.mkdirs) mkdirSync(directory);
  for (const { path, value, optional } of plan.writes) {
    try {
      writeFileSync(path, value);
    } catch (error) {
      if (!optional) throw error;
    }
  }
}

/** A shell inside the group, joined by itself before it execs. */
function inside(plan: CgroupPlan, script: string): Promise<number | string> {
  const file = plan.version === 1 ? "tasks" : "cgroup.procs";
  const joins = plan.join.map((directory) => `echo 0 > ${directory}/${file}`).join(" && ");
  const child = spawn("/bin/sh", ["-c", `${joins} && { ${script}\n}`], { stdio: "ignore" });
  children.push(child);
  return new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal ?? "")));
}

async function makeGroup(name: string, request: Partial<Parameters<Cgroups["plan"]>[0]> = {}) {
  made = [...made, ...(await cgroups.ensureParent(root))];
  const path = `${root}/${name}`;
  const plan = await cgroups.plan({ path, resources: {}, devices: [], ...request });
  apply(plan);
  return { path, plan };
}

describe("a group", () => {
  it("takes a process, counts it, kills it and goes away", async () => {
    const { path, plan } = await makeGroup("a");
    const end = inside(plan, "sleep 60 & sleep 60 & wait");
    await sleep(200);
    const usage = await cgroups.usage(path);
    expect(usage.cpuTotal).toBeGreaterThan(0n);
    await cgroups.killAll(path);
    expect(await end).toBe("SIGKILL");
    await cgroups.remove(path);
    await expect(cgroups.usage(path)).rejects.toThrow("it is gone");
  });

  it("is removed with the groups that were made inside it", async () => {
    const { path, plan } = await makeGroup("a");
    const first = plan.mkdirs[0] ?? "";
    mkdirSync(join(first, "inner"));
    mkdirSync(join(first, "inner", "leaf"));
    await cgroups.remove(path);
    await cgroups.remove(path);
    expect(() => readFileSync(join(first, "cgroup.procs"))).toThrow("ENOENT");
  });

  it("stays removable when its process has only just been killed", async () => {
    const { path, plan } = await makeGroup("a");
    const end = inside(plan, "sleep 60");
    await sleep(100);
    await cgroups.killAll(path);
    await cgroups.remove(path);
    expect(await end).toBe("SIGKILL");
  });

  it("kills a fork bomb whole", async () => {
    const { path, plan } = await makeGroup("a", { resources: { pidsLimit: 50n } });
    const hasPids = plan.writes.some((write) => write.path.endsWith("pids.max"));
    if (!hasPids) return;
    void inside(plan, "for i in $(seq 500); do (sleep 5) & done 2>/dev/null");
    await sleep(300);
    await cgroups.killAll(path);
    await cgroups.remove(path);
  });

  it("keeps its parent while another group uses it", async () => {
    await makeGroup("a");
    await cgroups.removeParent(made);
    const { plan } = await makeGroup("b");
    expect(() => readFileSync(join(dirname(plan.mkdirs[0] ?? ""), "cgroup.procs"))).not.toThrow();
  });

  it("lets a device be opened only if a rule allows it", async () => {
    const { plan } = await makeGroup("a", { devices: noDevices });
    if (plan.version === 2) {
      expect(plan.deviceProgramFd).toBeGreaterThan(2);
      return;
    }
    expect(await inside(plan, "echo x > /dev/null")).toBe(0);
    expect(await inside(plan, "head -c 1 /dev/zero")).toBe(1);
  });

  it("takes its cgroup parent from the request, and never leaves the hierarchy", () => {
    expect(cgroups.resolveParent("", "s")).toBe("/berth");
    expect(cgroups.resolveParent("kubepods/besteffort/", "s")).toBe("/kubepods/besteffort");
    expect(() => cgroups.resolveParent("/kubepods/../../etc", "s")).toThrow("cgroup_parent");
  });
});

describe("limits on v1", () => {
  const v1 = () => cgroups.version === 1;

  it("are written before a process exists", async ({ skip }) => {
    if (!v1()) skip();
    const { plan } = await makeGroup("a", {
      resources: {
        cpuShares: 512n,
        cpuQuota: 50_000n,
        cpuPeriod: 100_000n,
        memoryLimit: 64n << 20n,
        memorySwapLimit: 64n << 20n,
        pidsLimit: 20n,
        cpusetCpus: "0",
        hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
      },
    });
    const read = (file: string) => readFileSync(directoryWith(plan, file), "utf8").trim();
    expect(read("cpu.shares")).toBe("512");
    expect(read("cpu.cfs_quota_us")).toBe("50000");
    expect(read("memory.limit_in_bytes")).toBe(String(64 << 20));
    expect(read("pids.max")).toBe("20");
    expect(read("cpuset.cpus")).toBe("0");
  });

  it("hold: half a core is half a core", async ({ skip }) => {
    if (!v1()) skip();
    const { path, plan } = await makeGroup("a", { resources: { cpuQuota: 50_000n, cpuPeriod: 100_000n } });
    void inside(
      plan,
      "timeout 10 sh -c 'while :; do :; done' & timeout 10 sh -c 'while :; do :; done' & wait",
    );
    await sleep(300);
    const before = await cgroups.usage(path);
    await sleep(2000);
    const after = await cgroups.usage(path);
    const share = Number(after.cpuTotal - before.cpuTotal) / Number(after.timestamp - before.timestamp);
    expect(share).toBeGreaterThan(0.35);
    expect(share).toBeLessThan(0.6);
    await cgroups.killAll(path);
  });

  it("change as a patch: what isn't named stays", async ({ skip }) => {
    if (!v1()) skip();
    const before = { cpuShares: 512n, memoryLimit: 64n << 20n, memorySwapLimit: 64n << 20n };
    const { path, plan } = await makeGroup("a", { resources: before });
    const read = (file: string) => readFileSync(directoryWith(plan, file), "utf8").trim();
    const after = await cgroups.update(path, before, { cpusetCpus: "1" });
    expect(after).toEqual({ ...before, cpusetCpus: "1" });
    expect(read("cpuset.cpus")).toBe("1");
    expect(read("cpu.shares")).toBe("512");
    const grown = await cgroups.update(path, after, {
      memoryLimit: 128n << 20n,
      memorySwapLimit: 128n << 20n,
    });
    expect(read("memory.limit_in_bytes")).toBe(String(128 << 20));
    const shrunk = await cgroups.update(path, grown, {
      memoryLimit: 32n << 20n,
      memorySwapLimit: 32n << 20n,
    });
    expect(read("memory.limit_in_bytes")).toBe(String(32 << 20));
    expect(shrunk.cpusetCpus).toBe("1");
  });

  it("never pass their parent's share of the processors, not even on the way", async ({ skip }) => {
    if (!v1()) skip();
    const before = { cpuQuota: 50_000n, cpuPeriod: 100_000n };
    const { path, plan } = await makeGroup("a", { resources: before });
    const file = (name: string) => directoryWith(plan, name);
    const parent = (name: string) => join(dirname(dirname(file(name))), name);
    writeFileSync(parent("cpu.cfs_quota_us"), "50000");
    const shorter = await cgroups.update(path, before, { cpuQuota: 25_000n, cpuPeriod: 50_000n });
    expect(readFileSync(file("cpu.cfs_period_us"), "utf8").trim()).toBe("50000");
    await cgroups.update(path, shorter, { cpuQuota: 100_000n, cpuPeriod: 200_000n });
    expect(readFileSync(file("cpu.cfs_quota_us"), "utf8").trim()).toBe("100000");
  });

  it("change wholly or not at all", async ({ skip }) => {
    if (!v1()) skip();
    const before = { cpuShares: 512n };
    const { path, plan } = await makeGroup("a", { resources: before });
    const read = (file: string) => readFileSync(directoryWith(plan, file), "utf8").trim();
    await expect(cgroups.update(path, before, { cpuShares: 1024n, cpusetCpus: "77" })).rejects.toThrow(
      /resources.cpuset_cpus: "77"/,
    );
    expect(read("cpu.shares")).toBe("512");
  });

  it("are refused when the machine has no controller for them, unless they limit nothing", async ({
    skip,
  }) => {
    if (!v1()) skip();
    const hugepageLimits = [{ pageSize: "2MB", limit: 2n << 20n }];
    const wanted = cgroups.plan({ path: `${root}/a`, resources: { hugepageLimits }, devices: [] });
    await expect(wanted).rejects.toThrow("no hugetlb controller");
  });
});

describe("limits on v2", () => {
  const read = (plan: CgroupPlan, file: string) =>
    readFileSync(join(plan.mkdirs[0] ?? "", file), "utf8").trim();
  const has = (controller: string) =>
    cgroups.version === 2 &&
    readFileSync("/sys/fs/cgroup/cgroup.controllers", "utf8").split(/\s+/).includes(controller);

  it("are written before a process exists, unified last", async ({ skip }) => {
    if (!has("memory") || !has("cpu") || !has("pids")) skip();
    const { plan } = await makeGroup("a", {
      resources: {
        cpuShares: 1024n,
        cpuQuota: 50_000n,
        cpuPeriod: 100_000n,
        memoryLimit: 64n << 20n,
        pidsLimit: 20n,
        hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
        unified: { "memory.low": "0", "memory.max": String(32 << 20), "memory.oom.group": "0" },
      },
    });
    expect(read(plan, "cpu.weight")).toBe("100");
    expect(read(plan, "cpu.max")).toBe("50000 100000");
    expect(read(plan, "memory.max")).toBe(String(32 << 20));
    expect(read(plan, "memory.oom.group")).toBe("0");
    expect(read(plan, "pids.max")).toBe("20");
  });

  it("kill a container whole by default when it runs out of memory", async ({ skip }) => {
    if (!has("memory")) skip();
    const { plan } = await makeGroup("a");
    expect(read(plan, "memory.oom.group")).toBe("1");
    expect(plan.oomFile).toMatch(/memory\.events$/);
  });

  it("change as a patch, wholly or not at all", async ({ skip }) => {
    if (!has("memory") || !has("cpu")) skip();
    const before = { cpuShares: 512n, cpuQuota: 50_000n, cpuPeriod: 100_000n, memoryLimit: 64n << 20n };
    const { path, plan } = await makeGroup("a", { resources: before });
    const after = await cgroups.update(path, before, { cpuQuota: 20_000n });
    expect(after).toEqual({ ...before, cpuQuota: 20_000n });
    expect(read(plan, "cpu.max")).toBe("20000 100000");
    const bad = { cpuShares: 1024n, unified: { "memory.high": "nonsense" } };
    await expect(cgroups.update(path, after, bad)).rejects.toThrow('unified memory.high: "nonsense"');
    expect(read(plan, "cpu.weight")).toBe("59");
    expect(read(plan, "memory.max")).toBe(String(64 << 20));
  });

  it("are refused when the machine has no controller for them", async ({ skip }) => {
    if (cgroups.version !== 2 || has("memory")) skip();
    made = await cgroups.ensureParent(root);
    const wanted = cgroups.plan({ path: `${root}/a`, resources: { memoryLimit: 1n << 20n }, devices: [] });
    await expect(wanted).rejects.toThrow("no memory controller");
    await expect(
      cgroups.plan({ path: `${root}/a`, resources: { pidsLimit: 5n }, devices: [] }),
    ).resolves.toBeDefined();
  });

  it("hold for devices: the program refuses what no rule allows", async ({ skip }) => {
    if (cgroups.version !== 2) skip();
    const { plan } = await makeGroup("a", { devices: noDevices });
    const directory = openSync(plan.mkdirs[0] ?? "", "r");
    try {
      attach(directory, plan.deviceProgramFd ?? -1);
      expect(await inside(plan, "true > /dev/null")).toBe(0);
      expect(await inside(plan, "true < /dev/zero")).not.toBe(0);
    } finally {
      closeSync(directory);
    }
  });

  it("hold: half a core is half a core", async ({ skip }) => {
    if (!has("cpu")) skip();
    const { path, plan } = await makeGroup("a", { resources: { cpuQuota: 50_000n, cpuPeriod: 100_000n } });
    void inside(plan, "timeout 20 sh -c 'while :; do :; done' & wait");
    await sleep(500);
    const before = await cgroups.usage(path);
    await sleep(2000);
    const after = await cgroups.usage(path);
    const share = Number(after.cpuTotal - before.cpuTotal) / Number(after.timestamp - before.timestamp);
    expect(share).toBeGreaterThan(0.35);
    expect(share).toBeLessThan(0.6);
  });
});

/** BPF_PROG_ATTACH to BPF_CGROUP_DEVICE, as the monitor does it. */
function attach(directory: number, program: number): void {
  const attributes = Buffer.alloc(20);
  attributes.writeUInt32LE(directory, 0);
  attributes.writeUInt32LE(program, 4);
  attributes.writeUInt32LE(6, 8);
  bpf(8, attributes, "attach");
}

describe("statistics", () => {
  it("of a hundred groups take little time and hold up nothing", async () => {
    const { path } = await makeGroup("a");
    await cgroups.usage(path);
    let worst = 0;
    let last = performance.now();
    let running = true;
    const watch = () => {
      worst = Math.max(worst, performance.now() - last);
      last = performance.now();
      if (running) setImmediate(watch);
    };
    setImmediate(watch);
    const times: number[] = [];
    for (let round = 0; round < 5; round++) {
      const start = process.cpuUsage();
      await Promise.all(Array.from({ length: 100 }, () => cgroups.usage(path)));
      // Processor time: whatever else runs on the machine doesn't count.
      const { user, system } = process.cpuUsage(start);
      times.push((user + system) / 1000);
      await sleep(5);
    }
    running = false;
    console.log(
      `usage of 100 groups: ${times.map((time) => time.toFixed(1)).join(" ")} ms, longest turn ${worst.toFixed(1)} ms`,
    );
    // A system call costs fifty times as much under user-mode Linux.
    const slow = readFileSync("/proc/cpuinfo", "utf8").includes("User Mode Linux");
    expect(Math.min(...times)).toBeLessThan(slow ? 1500 : 30);
  });
});

function directoryWith(plan: CgroupPlan, file: string): string {
  const controller = file.slice(0, file.indexOf("."));
  const directory = plan.join.find((path) => path.split("/")[4]?.split(",").includes(controller));
  return join(directory ?? "", file);
}
