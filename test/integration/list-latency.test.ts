import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { isEmulated } from "../lib/kernel.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start({ flags: ["--log-level", "info"] });
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

interface Times {
  readonly ListContainers: readonly number[];
  readonly Version: readonly number[];
}

async function listDuring(work: () => Promise<void>): Promise<Times> {
  const worker = new Worker(new URL("../lib/list-sampler.ts", import.meta.url), {
    workerData: { socket: server.socket },
  });
  const answered = once(worker, "message") as Promise<[Times]>;
  await work();
  worker.postMessage("end");
  const [times] = await answered;
  return times;
}

/** One pod with a container, from nothing to nothing. */
async function life(): Promise<void> {
  await using pod = await TestPod.run(server);
  const container = await pod.start();
  await container.stop();
}

function percentile(times: readonly number[], share: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

it("lists 200 containers within 15 ms while pods start and stop", { timeout: 300_000 }, async ({ skip }) => {
  if (isEmulated) skip("a second kernel says nothing about time");
  const pods = await Promise.all(Array.from({ length: 20 }, () => TestPod.run(server)));
  for (const pod of pods) await Promise.all(Array.from({ length: 10 }, () => pod.create()));
  expect((await server.runtime.listContainers()).containers).toHaveLength(200);
  await life();
  const times = await listDuring(async () => {
    const end = performance.now() + 8000;
    const churn = async (): Promise<void> => {
      while (performance.now() < end) await life();
    };
    await Promise.all([churn(), churn()]);
  });
  const line = (["ListContainers", "Version"] as const).map((name) => {
    const shares = [0.5, 0.95, 0.99].map((share) => percentile(times[name], share).toFixed(1));
    return `${name} p50/p95/p99 ${shares.join("/")} ms of ${times[name].length}`;
  });
  console.log(line.join(", "));
  // A machine that is busy with other things delays every call: Version does nothing and tells by how much.
  const limit = Math.max(15, 2 * percentile(times.Version, 0.99));
  expect(percentile(times.ListContainers, 0.99)).toBeLessThanOrEqual(limit);
  await server.removePods();
});
