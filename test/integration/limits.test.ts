import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ContainerState } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";
import { testImage } from "../lib/registry.ts";

const stress = testImage("stress:1");
let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  await pull(server, stress);
});

afterAll(() => server[Symbol.asyncDispose]());

async function cpuNanoseconds(container: TestContainer): Promise<bigint> {
  const { stats } = await server.runtime.containerStats({ containerId: container.id });
  const used = stats?.cpu?.usageCoreNanoSeconds?.value;
  if (used === undefined) throw new Error("no CPU usage in the container's statistics");
  return used;
}

/**
 * Share of one core, from the container's own statistics. A machine that others use as well may give less than the limit,
 * never more: the best of a few stretches counts.
 */
async function measuredCores(container: TestContainer): Promise<number> {
  let most = 0;
  for (let stretch = 0; stretch < 4; stretch += 1) most = Math.max(most, await coresFor(container, 1.5));
  return most;
}

async function coresFor(container: TestContainer, seconds: number): Promise<number> {
  const [from, start] = [await cpuNanoseconds(container), performance.now()];
  await sleep(seconds * 1000);
  const [to, end] = [await cpuNanoseconds(container), performance.now()];
  return Number(to - from) / 1e6 / (end - start);
}

const burn = "while :; do :; done & while :; do :; done";

describe("cpu", () => {
  it("gives half a core for quota 50000 of 100000", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script(burn, {
      linux: { resources: { cpuQuota: 50_000n, cpuPeriod: 100_000n } },
    });
    const cores = await measuredCores(container);
    expect(cores).toBeGreaterThan(0.3);
    expect(cores).toBeLessThan(0.57);
    expect((await container.status()).resources?.linux).toMatchObject({
      cpuQuota: 50_000n,
      cpuPeriod: 100_000n,
    });
  });

  it("takes a new quota while it runs", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script(burn, {
      linux: { resources: { cpuQuota: 50_000n, cpuPeriod: 100_000n } },
    });
    await server.runtime.updateContainerResources({
      containerId: container.id,
      linux: { cpuQuota: 20_000n },
    });
    const cores = await measuredCores(container);
    expect(cores).toBeGreaterThan(0.12);
    expect(cores).toBeLessThan(0.26);
    expect((await container.status()).resources?.linux).toMatchObject({
      cpuQuota: 20_000n,
      cpuPeriod: 100_000n,
    });
  });
});

describe("memory", () => {
  const limit = 32n << 20n;

  it("reports an out-of-memory kill as OOMKilled and 137", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start({
      command: ["/bin/sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=200M count=1"],
      linux: { resources: { memoryLimitInBytes: limit, memorySwapLimitInBytes: limit } },
    });
    const status = await container.exited(20_000);
    expect(status).toMatchObject({
      state: ContainerState.CONTAINER_EXITED,
      reason: "OOMKilled",
      exitCode: 137,
    });
  });

  it("shows the limit in the status, and refuses one that makes no sense", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start({ linux: { resources: { memoryLimitInBytes: limit } } });
    expect((await container.status()).resources?.linux?.memoryLimitInBytes).toBe(limit);
    await expect(
      server.runtime.updateContainerResources({
        containerId: container.id,
        linux: { memoryLimitInBytes: 64n << 20n, memorySwapLimitInBytes: 1n << 20n },
      }),
    ).rejects.toThrow(/swap/i);
    expect((await container.status()).resources?.linux?.memoryLimitInBytes).toBe(limit);
  });
});

describe("everything else", () => {
  it("holds no limit of the host's for a container without one", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const usage = (await server.runtime.containerStats({ containerId: container.id })).stats?.memory;
    expect(usage?.workingSetBytes?.value).toBeGreaterThan(0n);
    expect(usage?.workingSetBytes?.value).toBeLessThan(32n << 20n);
  });

  it("sets the OOM score as far as the kernel lets it", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start({ linux: { resources: { oomScoreAdj: 777n } } });
    expect(await container.sh("cat /proc/1/oom_score_adj")).toBe("777");
    await pod.start({ linux: { resources: { oomScoreAdj: -998n } } });
  });

  it("lets a container have no more processes than the server's limit", async () => {
    await using limited = await Berthd.start({ flags: ["--pids-limit", "20"] });
    await pull(limited);
    await using pod = await TestPod.run(limited);
    const container = await pod.start();
    const fork = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do sleep 5 & done";
    expect((await container.exec("/bin/sh", "-c", fork)).stderr).toMatch(/fork/);
  });
});
