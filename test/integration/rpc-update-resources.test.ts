import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { containerGroup, hasController } from "../lib/cgroup.ts";
import { cgroupVersion } from "../lib/kernel.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

/** gRPC status numbers. */
const invalidArgument = 3;
const notFound = 5;
const failedPrecondition = 9;

const mebibyte = 1n << 20n;
const hasLimits = ["cpu", "memory", "pids"].every(hasController);

/** Shares, bandwidth and memory as the kernel has them now, in the terms of the request. */
async function inForce(containerId: string) {
  const read = await containerGroup(server, containerId);
  if (cgroupVersion === 1) {
    return {
      shares: BigInt(read("cpu.shares")),
      quota: BigInt(read("cpu.cfs_quota_us")),
      period: BigInt(read("cpu.cfs_period_us")),
      memory: BigInt(read("memory.limit_in_bytes")),
    };
  }
  const [quota = "", period = ""] = read("cpu.max").split(" ");
  const weight = read("cpu.weight");
  return {
    shares: { "59": 512n, "100": 1024n, "174": 2048n }[weight] ?? `weight ${weight}`,
    quota: BigInt(quota),
    period: BigInt(period),
    memory: BigInt(read("memory.max")),
  };
}

const before = {
  cpuShares: 512n,
  cpuQuota: 50_000n,
  cpuPeriod: 100_000n,
  memoryLimitInBytes: 64n * mebibyte,
  memorySwapLimitInBytes: 64n * mebibyte,
};

async function limited(pod: TestPod) {
  return pod.create({ linux: { resources: before } });
}

describe.runIf(hasLimits)("UpdateContainerResources", () => {
  it.each(["created", "running"])(
    "is a patch for a container that is %s: what is left out stays",
    async (phase) => {
      await using pod = await TestPod.run(server);
      const container = await limited(pod);
      if (phase === "running") await container.start();
      const update = (linux: object) =>
        server.runtime.updateContainerResources({ containerId: container.id, linux });
      await update({ cpuQuota: 20_000n });
      const kernel = { shares: 512n, quota: 20_000n, period: 100_000n, memory: 64n * mebibyte };
      expect(await inForce(container.id)).toEqual(kernel);
      await update({ cpuShares: 1024n });
      expect(await inForce(container.id)).toEqual({ ...kernel, shares: 1024n });
      await update({ memoryLimitInBytes: 32n * mebibyte });
      expect(await inForce(container.id)).toEqual({ ...kernel, shares: 1024n, memory: 32n * mebibyte });
      expect((await container.status()).resources?.linux).toMatchObject({
        cpuShares: 1024n,
        cpuQuota: 20_000n,
        cpuPeriod: 100_000n,
        memoryLimitInBytes: 32n * mebibyte,
        memorySwapLimitInBytes: 64n * mebibyte,
      });
    },
  );

  it("moves a container's processors alone, as the CPU manager does, and says so in the status", async ({
    skip,
  }) => {
    if (!hasController("cpuset")) skip("no cpuset controller");
    await using pod = await TestPod.run(server);
    const container = await (await limited(pod)).start();
    const earlier = await inForce(container.id);
    await server.runtime.updateContainerResources({ containerId: container.id, linux: { cpusetCpus: "0" } });
    expect(await container.sh("grep Cpus_allowed_list /proc/self/status")).toMatch(/\s0$/);
    expect(await inForce(container.id)).toEqual(earlier);
    expect((await container.status()).resources?.linux).toMatchObject({ ...before, cpusetCpus: "0" });
  });

  it("raises and lowers memory and swap together, in whatever order the kernel needs", async () => {
    await using pod = await TestPod.run(server);
    const container = await (await limited(pod)).start();
    for (const size of [256n, 16n, 128n, 64n]) {
      const linux = { memoryLimitInBytes: size * mebibyte, memorySwapLimitInBytes: size * mebibyte };
      await server.runtime.updateContainerResources({ containerId: container.id, linux });
      expect((await inForce(container.id)).memory).toBe(size * mebibyte);
      expect((await container.status()).resources?.linux).toMatchObject(linux);
    }
    expect(await container.sh("echo alive")).toBe("alive");
  });

  it.each([
    ["processors that are not there", { cpuShares: 1024n, cpusetCpus: "77" }, /cpuset_cpus.*77/],
    [
      "a swap limit below that of memory",
      { memorySwapLimitInBytes: 32n * mebibyte, cpuShares: 1024n },
      /swap/,
    ],
    [
      "memory above the swap limit that stays",
      { memoryLimitInBytes: 128n * mebibyte, cpuShares: 1024n },
      /memory/,
    ],
    ["a period that the kernel refuses", { cpuPeriod: 10n, cpuShares: 1024n }, /cpu_period.*10/],
    ["a page size that is none", { hugepageLimits: [{ pageSize: "3XB", limit: 0n }] }, /3XB/],
    ["a file that is no controller's", { cpuShares: 1024n, unified: { "../escape": "1" } }, /escape/],
  ])("changes nothing when it is refused for %s", async (_what, linux, message) => {
    await using pod = await TestPod.run(server);
    const container = await (await limited(pod)).start();
    const [kernel, status] = [await inForce(container.id), (await container.status()).resources];
    await expect(
      server.runtime.updateContainerResources({ containerId: container.id, linux }),
    ).rejects.toMatchObject({ code: invalidArgument, message: expect.stringMatching(message) });
    expect(await inForce(container.id)).toEqual(kernel);
    expect((await container.status()).resources).toEqual(status);
  });

  it("keeps every one of many updates at once, across a restart too", async () => {
    await using pod = await TestPod.run(server);
    const container = await (await limited(pod)).start();
    const patches: readonly object[] = [
      { cpuShares: 2048n },
      { cpuQuota: 70_000n },
      { memorySwapLimitInBytes: 256n * mebibyte },
    ];
    await Promise.all(
      patches.map((linux) => server.runtime.updateContainerResources({ containerId: container.id, linux })),
    );
    await server.restart("SIGKILL");
    expect((await container.status()).resources?.linux).toMatchObject({
      ...before,
      cpuShares: 2048n,
      cpuQuota: 70_000n,
      memorySwapLimitInBytes: 256n * mebibyte,
    });
    expect(await inForce(container.id)).toMatchObject({ shares: 2048n, quota: 70_000n, period: 100_000n });
  });

  it("applies raw v2 files last, as the kubelet sends them", async ({ skip }) => {
    if (cgroupVersion !== 2) skip("cgroup v1 has no unified files");
    await using pod = await TestPod.run(server);
    const container = await (await limited(pod)).start();
    const unified = { "memory.high": String(48n * mebibyte), "memory.max": String(40n * mebibyte) };
    const linux = { memoryLimitInBytes: 64n * mebibyte, unified };
    await server.runtime.updateContainerResources({ containerId: container.id, linux });
    const read = await containerGroup(server, container.id);
    expect(read("memory.high")).toBe(unified["memory.high"]);
    expect(read("memory.max")).toBe(unified["memory.max"]);
  });

  it("is for containers that are created or run", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script("exit 0");
    await container.exited();
    const linux = { cpuShares: 1024n };
    const update = (request: object) => server.runtime.updateContainerResources(request);
    await expect(update({ containerId: container.id, linux })).rejects.toMatchObject({
      code: failedPrecondition,
    });
    await expect(update({ containerId: "0".repeat(64), linux })).rejects.toMatchObject({ code: notFound });
    await expect(update({ containerId: container.id })).rejects.toMatchObject({ code: invalidArgument });
    await expect(update({ linux })).rejects.toMatchObject({ code: invalidArgument });
  });
});
