import { spawnSync } from "node:child_process";
import { readdir, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseExitFile } from "../../cri-server/src/effects/native/exit-file.ts";
import type { Monitor, PodMonitorSpec } from "../../cri-server/src/ports/monitor.ts";
import { cgroupFor } from "./container-fixture.ts";
import { exitOf, type MonitorFixture, makeMonitorFixture } from "./monitor-fixture.ts";

let fixture: MonitorFixture;
beforeAll(async () => {
  fixture = await makeMonitorFixture();
});
afterAll(() => fixture.cleanUp());

const alive = (pid: number): Promise<boolean> =>
  stat(`/proc/${pid}`).then(
    () => true,
    () => false,
  );

describe("a container's life", () => {
  let monitor: Monitor;
  let spec: PodMonitorSpec;
  beforeAll(async () => {
    ({ monitor, spec } = await fixture.pod());
  });
  afterAll(() => monitor.shutdown());

  it("goes from created by running to exited, with a record and a log", async () => {
    const plan = await fixture.plan("echo out; echo err >&2; hostname; exit 3");
    const made = await monitor.create(plan);
    expect(await alive(made.pid)).toBe(true);
    expect(await monitor.list()).toMatchObject([{ containerId: plan.containerId, state: "created" }]);
    const exit = exitOf(monitor, plan.containerId);
    const { startedAt } = await monitor.start(plan.containerId);
    const record = await exit;
    expect(record).toMatchObject({ exitCode: 3, oomKilled: false, startedAt });
    expect(record.finishedAt).toBeGreaterThan(startedAt);
    expect(parseExitFile(await readFile(plan.exitFile, "utf8"))).toEqual(record);
    const log = await readFile(plan.io.logPath, "utf8");
    const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z`;
    expect(log).toMatch(new RegExp(`^${time} stdout F out$`, "m"));
    expect(log).toMatch(new RegExp(`^${time} stderr F err$`, "m"));
    expect(log).toMatch(new RegExp(`^${time} stdout F berth-pod$`, "m"));
    expect((await stat(plan.io.logPath)).mode & 0o777).toBe(0o640);
    expect(await monitor.list()).toMatchObject([{ state: "exited", exit: record }]);
    await monitor.remove(plan.containerId);
    await monitor.remove(plan.containerId);
    expect(await monitor.list()).toEqual([]);
  });

  it("refuses a second container of the same id, and a second start", async () => {
    const plan = await fixture.plan("sleep 100");
    await fixture.running(monitor, plan);
    await expect(monitor.create(plan)).rejects.toMatchObject({ code: "already-exists" });
    await expect(monitor.start(plan.containerId)).rejects.toMatchObject({ code: "wrong-state" });
    await expect(monitor.remove(plan.containerId)).rejects.toMatchObject({ code: "wrong-state" });
    await expect(monitor.start("nobody")).rejects.toMatchObject({ code: "container-not-found" });
    const exit = exitOf(monitor, plan.containerId);
    await monitor.kill(plan.containerId, 9, true);
    expect(await exit).toMatchObject({ exitCode: 137, oomKilled: false });
    await monitor.remove(plan.containerId);
  });

  it("tells which step of the making failed, and leaves nothing", async () => {
    const good = await fixture.plan("true");
    const plan = { ...good, rootfs: { ...good.rootfs, lower: ["/nonexistent"] } };
    await expect(monitor.create(plan)).rejects.toMatchObject({ code: "launch-failed" });
    expect(await monitor.list()).toEqual([]);
    await expect(stat(plan.cgroup.join[0] ?? "")).rejects.toMatchObject({ code: "ENOENT" });
    await monitor.create(good);
    await monitor.remove(good.containerId);
    await expect(stat(good.exitFile)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("records a command that can't be executed as one that never ran", async () => {
    const plan = await fixture.plan("", {}, { args: ["/nothing/here"] });
    await monitor.create(plan);
    const exit = exitOf(monitor, plan.containerId);
    await expect(monitor.start(plan.containerId)).rejects.toMatchObject({ code: "start-failed" });
    expect(await exit).toMatchObject({ exitCode: 128, startedAt: 0n });
    await monitor.remove(plan.containerId);
  });

  it("switches logs between two lines and loses none", async () => {
    const plan = await fixture.plan("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    const exit = exitOf(monitor, plan.containerId);
    await fixture.running(monitor, plan);
    let texts = "";
    for (let turn = 0; turn < 5; turn++) {
      await rename(plan.io.logPath, `${plan.io.logPath}.old`);
      await monitor.reopenLog(plan.containerId).catch(() => {});
      texts += await readFile(`${plan.io.logPath}.old`, "utf8");
    }
    await exit;
    texts += await readFile(plan.io.logPath, "utf8");
    const lines = texts.split("\n").filter((line) => line !== "");
    expect(lines).toHaveLength(20000);
    expect(lines.map((line) => line.split(" stdout F ")[1])).toEqual(
      Array.from({ length: 20000 }, (_, index) => `line ${index}`),
    );
    await monitor.remove(plan.containerId);
  });

  it("cuts a long line into pieces and ends it with the last", async () => {
    const plan = await fixture.plan("head -c 40000 /dev/zero | tr '\\0' x; echo; printf tail");
    const exit = exitOf(monitor, plan.containerId);
    await fixture.running(monitor, plan);
    await exit;
    const lines = (await readFile(plan.io.logPath, "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => [line.split(" ")[2], (line.split(" ")[3] ?? "").length])).toEqual([
      ["P", 16384],
      ["P", 16384],
      ["F", 7232],
      ["F", 4],
    ]);
    await monitor.remove(plan.containerId);
  });

  it("says nothing of the host's to the pod, and pins two mounts", async () => {
    const mounts = await readFile("/proc/self/mountinfo", "utf8");
    expect(mounts.split("\n").filter((line) => line.includes(spec.sandboxId))).toHaveLength(2);
    expect((await stat(join(spec.podDir, "monitor.sock"))).mode & 0o777).toBe(0o600);
  });
});

describe("cgroups", () => {
  let monitor: Monitor;
  beforeAll(async () => {
    ({ monitor } = await fixture.pod());
  });
  afterAll(() => monitor.shutdown());

  it("tell an end for want of memory from a kill", async () => {
    const plan = await fixture.plan("exec tail /dev/zero");
    const memory = plan.cgroup.join.find((group) => group.startsWith("/sys/fs/cgroup/memory/")) ?? "";
    const limit = { path: `${memory}/memory.limit_in_bytes`, value: "16777216", optional: false };
    const eats = {
      ...plan,
      cgroup: { ...plan.cgroup, writes: [limit], oomFile: `${memory}/memory.oom_control` },
    };
    await monitor.create(eats);
    const exit = exitOf(monitor, eats.containerId);
    await monitor.start(eats.containerId);
    expect(await exit).toMatchObject({ exitCode: 137, oomKilled: true });
    await monitor.remove(eats.containerId);
  });

  it("of version 2 take the process at its birth and are killed as a whole", async () => {
    const plan = await fixture.plan("(setsid sleep 1000 &) ; exec sleep 1000", {
      cgroup: cgroupFor(2, `berth-monitor-v2-${process.pid}`),
      namespaces: { network: "pod", ipc: "pod", uts: "pod", pid: "host", cgroup: "new", user: "host" },
    });
    await fixture.running(monitor, plan);
    const procs = async () =>
      (await readFile(`${plan.cgroup.join[0]}/cgroup.procs`, "utf8"))
        .split("\n")
        .filter((line) => line !== "");
    await expect.poll(procs).toHaveLength(2);
    const outcome = await monitor.execSync(
      fixture.containers.exec(plan, ["cat", "/proc/self/cgroup"]),
      5000,
      9999,
    );
    expect(outcome.stdout.toString()).toMatch(/^0::\/$/m);
    const exit = exitOf(monitor, plan.containerId);
    await monitor.kill(plan.containerId, 9, true);
    expect(await exit).toMatchObject({ exitCode: 137 });
    await expect.poll(procs).toEqual([]);
    await monitor.remove(plan.containerId);
  });

  it("lose what a container in the host's PID namespace leaves behind", async () => {
    const plan = await fixture.plan("(setsid sleep 1000 &) ; sleep 0.1; exit 4", {
      namespaces: { network: "pod", ipc: "pod", uts: "pod", pid: "host", cgroup: "new", user: "host" },
    });
    const exit = exitOf(monitor, plan.containerId);
    await fixture.running(monitor, plan);
    expect(await exit).toMatchObject({ exitCode: 4 });
    expect(await readFile(`${plan.cgroup.join[0]}/cgroup.procs`, "utf8")).toBe("");
    await monitor.remove(plan.containerId);
  });
});

describe("shutdown", () => {
  it("kills what runs, records it, and leaves nothing", async () => {
    const { monitor, spec } = await fixture.pod();
    const plan = await fixture.plan("sleep 1000 & sleep 1000");
    await fixture.running(monitor, plan);
    const { pid } = monitor.process;
    const exit = exitOf(monitor, plan.containerId);
    await monitor.shutdown();
    expect(await exit).toMatchObject({ exitCode: 137 });
    await expect.poll(() => alive(pid)).toBe(false);
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(spec.sandboxId);
    await expect(stat(spec.netnsPath)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await readdir(spec.podDir)).toEqual(["monitor.log", "shm"]);
    expect(parseExitFile(await readFile(plan.exitFile, "utf8"))).toMatchObject({ exitCode: 137 });
    await expect(fixture.host.reconnect(spec.sandboxId, spec.podDir, monitor.process)).rejects.toMatchObject({
      code: "monitor-lost",
    });
  });
});

describe("a pod", () => {
  it("that can't be made is rolled back, and says where it failed", async () => {
    const spec = await fixture.spec({ sysctls: { "net.ipv4.ip_forward": "1", "net.ipv4.no_such_key": "1" } });
    await expect(fixture.host.spawn(spec)).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringContaining("net.ipv4.no_such_key = 1: the kernel has none"),
    });
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(spec.sandboxId);
    await expect(stat(spec.netnsPath)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("has the sysctls that were asked for, and the host does not", async () => {
    const before = await readFile("/proc/sys/kernel/shm_rmid_forced", "utf8");
    const { monitor } = await fixture.pod({
      sysctls: { "kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "0" },
    });
    const plan = await fixture.plan("sleep 100");
    await fixture.running(monitor, plan);
    const exec = fixture.containers.exec(plan, [
      "cat",
      "/proc/sys/kernel/shm_rmid_forced",
      "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    ]);
    expect((await monitor.execSync(exec, 5000, 1000)).stdout.toString()).toBe("1\n0\n");
    expect(await readFile("/proc/sys/kernel/shm_rmid_forced", "utf8")).toBe(before);
    await monitor.shutdown();
  });

  it("with a shared PID namespace has an init of its own that can do nothing", async () => {
    const { monitor } = await fixture.pod({ pidInit: true });
    const namespaces = {
      network: "pod",
      ipc: "pod",
      uts: "pod",
      pid: "pod",
      cgroup: "new",
      user: "host",
    } as const;
    const plan = await fixture.plan("sleep 100", { namespaces });
    const other = await fixture.plan("sleep 101", { namespaces });
    await fixture.running(monitor, plan);
    await fixture.running(monitor, other);
    const exec = fixture.containers.exec(plan, [
      "sh",
      "-c",
      "cat /proc/1/comm; ps; ls -l /proc/1/root/ 2>&1",
    ]);
    const { stdout } = await monitor.execSync(exec, 5000, 10000);
    expect(stdout.toString()).toMatch(/^berth-init\n/);
    expect(stdout.toString()).toContain("sleep 100");
    expect(stdout.toString()).toContain("sleep 101");
    expect(stdout.toString()).toContain("Permission denied");
    // Its own end does not end the others', but what it left in the namespace goes with it.
    const exit = exitOf(monitor, plan.containerId);
    await monitor.kill(plan.containerId, 9, false);
    await exit;
    expect(await monitor.list()).toEqual(
      expect.arrayContaining([expect.objectContaining({ containerId: other.containerId, state: "running" })]),
    );
    await monitor.shutdown();
  });

  it("with a user namespace owns its other namespaces in it", async () => {
    const mappings = [{ containerId: 0, hostId: 100000, length: 65536 }];
    const { monitor } = await fixture.pod({
      pidInit: true,
      userns: { uidMappings: mappings, gidMappings: mappings },
      sysctls: { "net.ipv4.ip_unprivileged_port_start": "0" },
    });
    const namespaces = {
      network: "pod",
      ipc: "pod",
      uts: "pod",
      pid: "pod",
      cgroup: "new",
      user: "pod",
    } as const;
    const plan = await fixture.plan("sleep 100", { namespaces });
    await fixture.running(monitor, plan);
    const exec = fixture.containers.exec(plan, [
      "sh",
      "-c",
      "cat /proc/self/uid_map; ip link show lo; id -u",
    ]);
    const { stdout, exitCode } = await monitor.execSync(exec, 5000, 10000);
    expect(exitCode).toBe(0);
    expect(stdout.toString()).toMatch(/ 0 +100000 +65536\n/);
    expect(stdout.toString()).toContain("LOOPBACK,UP");
    await monitor.shutdown();
  });

  it("of the host's network needs no namespace", async () => {
    const { monitor, spec } = await fixture.pod({
      network: "host",
      ipc: "host",
      uts: "host",
      netnsPath: "",
      shmPath: "",
      hostname: "",
    });
    const namespaces = {
      network: "host",
      ipc: "host",
      uts: "host",
      pid: "new",
      cgroup: "new",
      user: "host",
    } as const;
    const plan = await fixture.plan("sleep 100", { namespaces });
    await fixture.running(monitor, plan);
    expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(spec.sandboxId);
    await monitor.shutdown();
  });

  it("outlives the server's connection", async () => {
    const { monitor, spec } = await fixture.pod();
    const plan = await fixture.plan("sleep 0.3; exit 5");
    await fixture.running(monitor, plan);
    let lost = false;
    monitor.onLost(() => {
      lost = true;
    });
    monitor.disconnect();
    const again = await fixture.host.reconnect(spec.sandboxId, spec.podDir, monitor.process);
    expect(await again.list()).toMatchObject([{ containerId: plan.containerId, state: "running" }]);
    expect(await exitOf(again, plan.containerId)).toMatchObject({ exitCode: 5 });
    expect(lost).toBe(false);
    await again.shutdown();
  });

  it("that loses its monitor is told so", async () => {
    const { monitor, spec } = await fixture.pod();
    const plan = await fixture.plan("sleep 1000");
    const made = await monitor.create(plan);
    const lost = new Promise<void>((told) => monitor.onLost(told));
    process.kill(monitor.process.pid, "SIGKILL");
    await lost;
    await expect(monitor.list()).rejects.toMatchObject({ code: "monitor-lost" });
    // One that waits to be started goes with it.
    await expect.poll(() => alive(made.pid)).toBe(false);
    // The server's part: nobody else knows what that monitor had mounted.
    spawnSync("umount", ["-l", spec.netnsPath, spec.shmPath]);
  });
});
