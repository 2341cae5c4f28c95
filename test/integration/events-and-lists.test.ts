import type { ClientReadableStream } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ContainerEventResponse,
  ContainerState,
  PodSandboxState,
  ContainerEventType as Type,
} from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

/** Everything that a stream sends until it ends. */
async function all<T>(stream: ClientReadableStream<T>): Promise<readonly T[]> {
  const messages: T[] = [];
  for await (const message of stream) messages.push(message as T);
  return messages;
}

describe("GetContainerEvents", () => {
  it("tells the whole life of a pod and its container, each with the pod's state", async () => {
    const stream = server.client.events.getContainerEvents({});
    const events: ContainerEventResponse[] = [];
    stream.on("data", (event: ContainerEventResponse) => events.push(event));
    stream.on("error", () => {});
    // A stream has no answer that says it is subscribed.
    await new Promise((resolve) => setTimeout(resolve, 200));
    const pod = await TestPod.run(server);
    const container = await pod.start({ command: ["/bin/sh", "-c", "exit 3"] });
    await container.exited();
    await container.remove();
    await pod.remove();
    await expect.poll(() => events.length, { timeout: 5000 }).toBeGreaterThanOrEqual(8);
    stream.cancel();
    const of = (id: string) =>
      events.filter((event) => event.containerId === id).map((event) => event.containerEventType);
    const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT } = Type;
    const { CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } = Type;
    const life = [
      CONTAINER_CREATED_EVENT,
      CONTAINER_STARTED_EVENT,
      CONTAINER_STOPPED_EVENT,
      CONTAINER_DELETED_EVENT,
    ];
    expect(of(container.id)).toEqual(life);
    expect(of(pod.id)[0]).toBe(CONTAINER_CREATED_EVENT);
    expect(of(pod.id)).toContain(CONTAINER_DELETED_EVENT);
    for (const event of events) {
      expect(event.podSandboxStatus?.metadata?.name).toBe(pod.config.metadata?.name);
      expect(event.createdAt).toBeGreaterThan(0n);
    }
    const stopped = events.find(
      (event) => event.containerId === container.id && event.containerEventType === CONTAINER_STOPPED_EVENT,
    );
    expect(stopped?.containersStatuses[0]).toMatchObject({
      exitCode: 3,
      state: ContainerState.CONTAINER_EXITED,
    });
  });

  it("never makes anyone wait for a subscriber that doesn't read", async () => {
    const stream = server.client.events.getContainerEvents({});
    stream.on("error", () => {});
    stream.pause();
    await using pod = await TestPod.run(server);
    const started = performance.now();
    for (let round = 0; round < 20; round += 1) {
      const container = await pod.start();
      await container.stop();
      await container.remove();
    }
    expect(performance.now() - started).toBeLessThan(20_000);
    stream.cancel();
  });
});

describe("the streams of lists", () => {
  it("send what the lists have, each item once", async () => {
    await using one = await TestPod.run(server, { labels: { app: "one" } });
    await using two = await TestPod.run(server, { labels: { app: "two" } });
    const containers = [await one.start(), await one.create(), await two.start()];
    const { events } = server.client;
    const sandboxes = (await all(events.streamPodSandboxes({ filter: undefined }))).flatMap(
      (message) => message.podSandboxes,
    );
    expect(sandboxes).toEqual((await server.runtime.listPodSandbox()).items);
    const streamed = (await all(events.streamContainers({ filter: undefined }))).flatMap(
      (message) => message.containers,
    );
    expect(streamed).toEqual((await server.runtime.listContainers()).containers);
    expect(streamed.map(({ id }) => id).toSorted()).toEqual(containers.map(({ id }) => id).toSorted());
    const stats = (await all(events.streamContainerStats({ filter: undefined }))).flatMap(
      (message) => message.containerStats,
    );
    expect(stats.map(({ attributes }) => attributes?.id).toSorted()).toEqual(
      [containers[0]?.id, containers[2]?.id].toSorted(),
    );
  });

  it("filter, and send nothing for nothing", async () => {
    await using pod = await TestPod.run(server, { labels: { app: "three" } });
    await pod.create();
    const { events } = server.client;
    const filter = { id: "", state: undefined, labelSelector: { app: "three" } };
    const found = await all(events.streamPodSandboxes({ filter }));
    expect(found.flatMap((message) => message.podSandboxes).map(({ id }) => id)).toEqual([pod.id]);
    const ready = { state: PodSandboxState.SANDBOX_NOTREADY };
    expect(await all(events.streamPodSandboxes({ filter: { ...filter, state: ready } }))).toEqual([]);
  });
});

describe("UpdatePodSandboxResources", () => {
  it("is kept, across a restart too, and touches no cgroup", async () => {
    await using pod = await TestPod.run(server);
    await server.runtime.updatePodSandboxResources({
      podSandboxId: pod.id,
      resources: { cpuShares: 512n, memoryLimitInBytes: 64n * 1024n * 1024n },
      overhead: { cpuShares: 2n },
    });
    await server.restart("SIGKILL");
    const { info } = await server.runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
    expect(JSON.parse(info.info ?? "{}")).toMatchObject({
      config: { resources: { cpuShares: "512", memoryLimit: "67108864" }, overhead: { cpuShares: "2" } },
    });
    await expect(
      server.runtime.updatePodSandboxResources({ podSandboxId: "0".repeat(64) }),
    ).rejects.toMatchObject({
      code: 5,
    });
  });
});
