import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SystemdManager } from "../../cri-server/src/effects/systemd/systemd-manager.ts";
import { CgroupDriver, ContainerState, NamespaceMode } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, TestPod } from "../lib/pod.ts";

const root = "/sys/fs/cgroup";
/** As a kubelet names them: QoS class, pod. */
const slice = "berthkube-burstable-pod1_2.slice";
const slicePath = `/berthkube.slice/berthkube-burstable.slice/${slice}`;

/** hack/systemd makes this so. */
describe.skipIf(!existsSync("/run/systemd/system"))("where systemd manages the groups", () => {
  let server: Berthd;

  beforeAll(async () => {
    server = await Berthd.start();
    await pull(server);
  });

  afterAll(() => server[Symbol.asyncDispose]());

  const podIn = (cgroupParent: string, pid: NamespaceMode = NamespaceMode.CONTAINER) =>
    TestPod.run(server, {
      linux: { cgroupParent, securityContext: { namespaceOptions: { pid, network: NamespaceMode.NODE } } },
    });
  const scopeOf = (pod: TestPod) => `${slicePath}/berth-${pod.id}.scope`;
  const show = async (unit: string, ...properties: string[]) =>
    (await run("systemctl", ["show", unit, "-p", properties.join(",")])).trim().split("\n").sort();
  const file = (...parts: string[]) => readFileSync([root, ...parts].join("/"), "utf8").trim();
  const limited = { memoryLimitInBytes: 64n << 20n, cpuQuota: 50_000n, cpuPeriod: 100_000n };

  it("says so to the kubelet", async () => {
    expect((await server.runtime.runtimeConfig({})).linux?.cgroupDriver).toBe(CgroupDriver.SYSTEMD);
  });

  it("makes a pod one delegated scope in the slice that it names, with its containers below", async () => {
    await using pod = await podIn(slicePath);
    const container = await pod.start({ linux: { resources: limited } });
    const scope = scopeOf(pod);
    expect(
      await show(`berth-${pod.id}.scope`, "ActiveState", "ControlGroup", "Delegate", "TasksMax"),
    ).toEqual(["ActiveState=active", `ControlGroup=${scope}`, "Delegate=yes", "TasksMax=infinity"]);
    expect(file(scope, container.id, "cgroup.procs")).not.toBe("");
    expect(file(scope, container.id, "memory.max")).toBe(String(64 << 20));
    expect(file(scope, container.id, "cpu.max")).toBe("50000 100000");
    expect(file(scope, "monitor/cgroup.procs").split("\n")).toHaveLength(1);
    expect((await container.exec("/bin/cat", "/proc/self/cgroup")).stdout).toBe("0::/\n");
  });

  it("keeps limits through daemon-reload and daemon-reexec, and finds systemd again", async () => {
    await using pod = await podIn(slicePath);
    const container = await pod.start({ linux: { resources: limited } });
    await run("systemctl", ["daemon-reload"]);
    await run("systemctl", ["daemon-reexec"]);
    expect(file(scopeOf(pod), container.id, "memory.max")).toBe(String(64 << 20));
    expect(file(scopeOf(pod), "cgroup.subtree_control").split(" ")).toContain("memory");
    await server.runtime.updateContainerResources({
      containerId: container.id,
      linux: { memoryLimitInBytes: 96n << 20n },
    });
    expect(file(scopeOf(pod), container.id, "memory.max")).toBe(String(96 << 20));
    await using second = await podIn(slicePath);
    expect(await (await second.start()).sh("echo yes")).toBe("yes");
  });

  it("takes pods whose containers share PIDs, whose first process is there before the scope", async () => {
    await using pod = await podIn(slicePath, NamespaceMode.POD);
    const container = await pod.start({ linux: { resources: limited } });
    expect(file(scopeOf(pod), pod.id, "cgroup.procs")).not.toBe("");
    expect(file(scopeOf(pod), container.id, "memory.max")).toBe(String(64 << 20));
    const { stats } = await server.runtime.containerStats({ containerId: container.id });
    expect(stats?.memory?.usageBytes?.value).toBeGreaterThan(0n);
  });

  it("outlives the server, and leaves neither scope nor slice of its own", async () => {
    const pod = await podIn("");
    const container = await pod.start();
    const { cgroupParent } = JSON.parse(
      (await server.runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true })).info.info ?? "{}",
    ) as { cgroupParent: string };
    expect(cgroupParent).toMatch(/^\/berth\.slice\/berth-test\.slice\/.*\.slice\/berth-[0-9a-f]+\.scope$/);
    await server.restart("SIGKILL");
    expect(await container.sh("echo yes")).toBe("yes");
    await pod.remove();
    const own = `${root}${cgroupParent.slice(0, cgroupParent.lastIndexOf("/"))}`;
    await eventually(async () => expect(existsSync(own)).toBe(false));
    expect(await run("systemctl", ["list-units", "--plain", "--no-legend", `berth-${pod.id}.scope`])).toBe(
      "",
    );
  });

  it.each([
    ["the message bus", { path: "/run/dbus/system_bus_socket", isBus: true }],
    ["systemd's own socket", { path: "/run/systemd/private", isBus: false }],
  ])("is reached by %s", async (_name, socket) => {
    const units = new SystemdManager([socket]);
    const child = spawn("sleep", ["60"]);
    const name = "berth-by-hand.scope";
    try {
      await units.startScope({ name, slice: "berthhand.slice", pid: child.pid ?? 0, properties: [] });
      expect(file("berthhand.slice", name, "cgroup.procs")).toBe(String(child.pid));
      await expect(
        units.startScope({ name, slice: "berthhand.slice", pid: child.pid ?? 0, properties: [] }),
      ).rejects.toThrow("org.freedesktop.systemd1.UnitExists");
      await units.stop(name);
      await units.stop(name);
      expect(existsSync(`${root}/berthhand.slice/${name}`)).toBe(false);
    } finally {
      child.kill("SIGKILL");
      units.close();
    }
  });

  it("refuses a parent that is no slice", async () => {
    await expect(podIn("/kubepods/pod1")).rejects.toThrow('linux.cgroup_parent: "/kubepods/pod1"');
  });

  it("tells of containers whose slice was stopped by someone else, as a kubelet does with dead pods", async () => {
    const pod = await podIn(slicePath);
    const container = await pod.script("trap 'exit 3' TERM; while :; do sleep 0.2; done");
    await run("systemctl", ["stop", slice]);
    const status = await container.exited(30_000);
    expect(status).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 3 });
    await pod.remove();
    await eventually(async () => expect(existsSync(`${root}${scopeOf(pod)}`)).toBe(false));
    expect(readdirSync(root)).toContain("init.scope");
  });
});
