import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ContainerEventResponse,
  ContainerEventType,
  type PodSandboxMetrics,
  PodSandboxState,
} from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { isEmulated } from "../lib/kernel.ts";
import { residentMiB } from "../lib/memory.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start({ flags: ["--log-level", "info"] });
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

async function all<T>(stream: AsyncIterable<unknown>): Promise<readonly T[]> {
  const messages: T[] = [];
  for await (const message of stream) messages.push(message as T);
  return messages;
}

describe("GetContainerEvents", () => {
  /** Subscribes and resolves when the server has taken note: a stream has no answer that would say so. */
  async function subscribe(): Promise<{
    readonly events: ContainerEventResponse[];
    readonly end: () => void;
  }> {
    const stream = server.client.events.getContainerEvents({});
    const events: ContainerEventResponse[] = [];
    stream.on("data", (event: ContainerEventResponse) => events.push(event));
    stream.on("error", () => {});
    await expect
      .poll(async () => {
        await (await TestPod.run(server)).remove();
        return events.length;
      })
      .toBeGreaterThan(0);
    return { events, end: () => stream.cancel() };
  }

  it("tells every subscriber of the end of a pod, with what it was", async () => {
    const subscribers = await Promise.all([subscribe(), subscribe()]);
    const pod = await TestPod.run(server);
    await pod.stop();
    await pod.remove();
    for (const { events, end } of subscribers) {
      const own = () => events.filter(({ containerId }) => containerId === pod.id);
      await expect
        .poll(() => own().at(-1)?.containerEventType)
        .toBe(ContainerEventType.CONTAINER_DELETED_EVENT);
      expect(own().map((event) => event.containerEventType)).toContain(
        ContainerEventType.CONTAINER_STOPPED_EVENT,
      );
      const last = own().at(-1);
      expect(last?.podSandboxStatus?.metadata).toMatchObject({ uid: pod.config.metadata?.uid });
      expect(last?.podSandboxStatus?.state).toBe(PodSandboxState.SANDBOX_NOTREADY);
      end();
    }
  });

  it("goes on for others, at the same speed and memory, when one subscriber stops reading", async ({
    skip,
  }) => {
    if (isEmulated) skip("a second kernel says nothing about time");
    const { events, end } = await subscribe();
    // Takes no byte any more: flow control fills, then the server's queue for it.
    const deaf = server.client.events.getContainerEvents({});
    deaf.on("error", () => {});
    deaf.pause();
    // Each event carries the pod with all its containers: with these labels 64 KiB and more.
    const labels = { app: "x".repeat(60_000) };
    const pod = await TestPod.run(server, { annotations: labels });
    const before = residentMiB(server.pid);
    const lives = 150;
    const container = async (index: number): Promise<void> => {
      const one = await pod.create({ metadata: { name: `c${index}`, attempt: 0 } });
      await one.remove();
    };
    for (let index = 0; index < lives; index += 5) {
      await Promise.all([0, 1, 2, 3, 4].map((offset) => container(index + offset)));
    }
    await expect
      .poll(() => events.filter(({ podSandboxStatus }) => podSandboxStatus?.id === pod.id).length)
      .toBeGreaterThanOrEqual(2 * lives + 1);
    expect(residentMiB(server.pid) - before).toBeLessThan(60);
    await pod.remove();
    deaf.cancel();
    end();
  });
});

describe("the streams of statistics, metrics and images", () => {
  it("send what the unary RPCs answer, each item once, and end", async () => {
    await using one = await TestPod.run(server, { labels: { app: "one" } });
    await using two = await TestPod.run(server, { labels: { app: "two" } });
    await one.start();
    await two.start();
    const { events } = server.client;
    const ids = (items: readonly { readonly attributes: { readonly id: string } | undefined }[]) =>
      items.map(({ attributes }) => attributes?.id).toSorted();
    const stats = await all<{ readonly podSandboxStats: Parameters<typeof ids>[0] }>(
      events.streamPodSandboxStats({ filter: undefined }),
    );
    expect(ids(stats.flatMap((message) => message.podSandboxStats))).toEqual([one.id, two.id].toSorted());
    const metrics = await all<{ readonly podSandboxMetrics: readonly PodSandboxMetrics[] }>(
      events.streamPodSandboxMetrics({}),
    );
    const sent = metrics.flatMap((message) => message.podSandboxMetrics);
    expect(sent.map(({ podSandboxId }) => podSandboxId).toSorted()).toEqual([one.id, two.id].toSorted());
    expect(sent.every((pod) => pod.metrics.length > 0 && pod.containerMetrics.length === 1)).toBe(true);
    const { containers } = await server.runtime.listContainers({ filter: { labelSelector: {} } });
    expect(containers).toHaveLength(2);
  });
});

describe("RuntimeConfig and UpdateRuntimeConfig", () => {
  it("name the cgroup driver, which is not the zero of its enum, and take the pods' addresses", async () => {
    expect((await server.runtime.runtimeConfig()).linux?.cgroupDriver).toBe(1);
    for (const podCidr of ["10.1.0.0/24", "10.1.0.0/24,fd00::/64", ""]) {
      await server.runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } });
    }
    const { info } = await server.runtime.status({ verbose: true });
    expect(Object.keys(info)).toContain("config");
  });
});
