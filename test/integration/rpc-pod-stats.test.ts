import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { hasController } from "../lib/cgroup.ts";
import { run } from "../lib/command.ts";
import { cgroupVersion } from "../lib/kernel.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

async function statsOf(pod: TestPod) {
  const { stats } = await server.runtime.podSandboxStats({ podSandboxId: pod.id });
  const linux = stats?.linux;
  if (linux === undefined) throw new Error("no statistics of Linux");
  return linux;
}

async function pidOf(container: TestContainer): Promise<number> {
  const { info } = await server.runtime.containerStatus({ containerId: container.id, verbose: true });
  return (JSON.parse(info.info ?? "{}") as { readonly pid: number }).pid;
}

/** A pod below a group of its own, as the kubelet makes them: only then are its figures those of one group. */
const ownGroup = () => ({ linux: { cgroupParent: `${process.env.BERTH_TEST_CGROUP ?? ""}/pod-stats` } });

describe("PodSandboxStats", () => {
  it("counts each interface of the pod by itself, the default one apart", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const inPod = ["-t", String(await pidOf(container)), "-n", "ip"];
    await run("nsenter", [...inPod, "link", "add", "extra0", "type", "veth", "peer", "name", "extra1"]);
    await run("nsenter", [...inPod, "address", "add", "10.99.0.1/24", "dev", "extra0"]);
    for (const name of ["extra0", "extra1"]) await run("nsenter", [...inPod, "link", "set", name, "up"]);
    await container.exec("/bin/ping", "-c", "1", "-W", "1", "10.99.0.2");
    const { network } = await statsOf(pod);
    expect(network?.defaultInterface?.name).toBe("eth0");
    expect(network?.interfaces.map(({ name }) => name).toSorted()).toEqual(["extra0", "extra1"]);
    const extra = network?.interfaces.find(({ name }) => name === "extra0");
    expect(extra?.txBytes?.value).toBeGreaterThan(0n);
    expect(extra?.rxErrors?.value).toBe(0n);
    expect(network?.timestamp).toBeGreaterThan(0n);
  });

  it.runIf(hasController("memory"))(
    "counts the pod's memory, processes and containers together",
    async () => {
      await using pod = await TestPod.run(server, ownGroup());
      // dd has filled its buffer, and waits for somebody who reads.
      const first = await pod.script("sleep 60 & dd if=/dev/zero bs=8M count=1 | sleep 60");
      const second = await pod.start();
      await pod.create();
      await expect
        .poll(async () => (await statsOf(pod)).memory?.workingSetBytes?.value, { timeout: 20_000 })
        .toBeGreaterThan(8_000_000n);
      const linux = await statsOf(pod);
      // Only those that run have figures.
      const ids = linux.containers.map(({ attributes }) => attributes?.id);
      expect(ids.toSorted()).toEqual([first.id, second.id].toSorted());
      const memory = linux.containers.map((one) => one.memory?.usageBytes?.value ?? 0n);
      const sum = memory.reduce((total, value) => total + value, 0n);
      expect(linux.memory?.usageBytes?.value).toBeGreaterThanOrEqual((sum * 9n) / 10n);
      expect(linux.memory?.rssBytes?.value).toBeGreaterThan(0n);
      expect(linux.memory?.pageFaults?.value).toBeGreaterThan(0n);
      if (hasController("pids")) expect(linux.process?.processCount?.value).toBeGreaterThanOrEqual(4n);
      for (const { attributes, writableLayer, cpu } of linux.containers) {
        expect(attributes?.metadata?.name).toMatch(/^container-/);
        expect(cpu?.usageCoreNanoSeconds?.value).toBeGreaterThan(0n);
        expect(writableLayer?.usedBytes?.value).toBeGreaterThanOrEqual(0n);
      }
    },
  );

  it("counts pressure where the kernel does, and says nothing of it elsewhere", async () => {
    await using pod = await TestPod.run(server, ownGroup());
    await pod.script("while :; do :; done");
    const hasPressure = cgroupVersion === 2 && existsSync("/proc/pressure/cpu");
    const { cpu, memory, io } = await statsOf(pod);
    expect(cpu?.psi === undefined).toBe(!hasPressure);
    if (!hasPressure) return;
    expect(cpu?.psi?.Some?.Total).toBeGreaterThanOrEqual(0n);
    expect(memory?.psi?.Full?.Total).toBeGreaterThanOrEqual(0n);
    expect(io?.psi?.Some?.Total).toBeGreaterThanOrEqual(0n);
  });

  it("grows with the work that is done", async () => {
    await using pod = await TestPod.run(server, ownGroup());
    const container = await pod.start();
    const used = async () => (await statsOf(pod)).cpu?.usageCoreNanoSeconds?.value ?? 0n;
    const before = await used();
    await container.sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    expect(await used()).toBeGreaterThan(before + 10_000_000n);
  });
});
