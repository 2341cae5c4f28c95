import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failpointNames } from "../../cri-server/src/lib/failpoint.ts";
import { ContainerState } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { expectNothingLeft, type Footprint, footprint, isServersOwn } from "../lib/footprint.ts";
import { hasNat } from "../lib/kernel.ts";
import { podConfig, pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  await using _first = await TestPod.run(server);
});

afterAll(() => server[Symbol.asyncDispose]());

/** A server that fails once at this step, and what it holds before it does. */
async function armed(specification: string): Promise<Footprint> {
  await server.stop();
  await server.again({ env: { BERTH_FAILPOINTS: specification } });
  // Connects, so that the connection is not taken for something left.
  await server.runtime.version();
  return footprint(server);
}

const of = (prefix: string) => failpointNames.filter((name) => name.startsWith(prefix));

/** Everything of `before`, with what the server has of its own by now. */
async function nowWith(before: Footprint): Promise<Footprint> {
  return new Set([...before, ...[...(await footprint(server))].filter(isServersOwn)]);
}

describe("RunPodSandbox", () => {
  it.each(of("sandbox.run."))(
    "leaves nothing when it fails at %s, and the same request succeeds then",
    async (name) => {
      const cold = await armed(`${name}=2*error`);
      const config = podConfig(server, {
        portMappings: hasNat ? [{ containerPort: 80, hostPort: 12090 }] : [],
      });
      await expect(server.runtime.runPodSandbox({ config })).rejects.toMatchObject({ code: 13 });
      expect((await server.runtime.listPodSandbox()).items).toEqual([]);
      await expectNothingLeft(server, await nowWith(cold));
      // Once more, now that the server has opened what it keeps open.
      const before = await footprint(server);
      await expect(server.runtime.runPodSandbox({ config })).rejects.toMatchObject({ code: 13 });
      await expectNothingLeft(server, before);
      const { podSandboxId } = await server.runtime.runPodSandbox({ config });
      await server.runtime.removePodSandbox({ podSandboxId });
      await expectNothingLeft(server, before);
    },
  );

  it.each(of("sandbox.run."))("is swept at the next start when the server dies at %s", async (name) => {
    const before = await armed(`${name}=1*crash`);
    const config = podConfig(server);
    await expect(server.runtime.runPodSandbox({ config })).rejects.toMatchObject({ code: 14 });
    await server.stop();
    await server.again({});
    expect((await server.runtime.listPodSandbox()).items).toEqual([]);
    await expectNothingLeft(server, await nowWith(before));
    const { podSandboxId } = await server.runtime.runPodSandbox({ config });
    await server.runtime.removePodSandbox({ podSandboxId });
    await expectNothingLeft(server, await nowWith(before));
  });
});

describe("CreateContainer", () => {
  it.each(of("container.create."))(
    "leaves nothing when it fails at %s, and the same request succeeds then",
    async (name) => {
      await armed(`${name}=2*error`);
      await using pod = await TestPod.run(server);
      const cold = await footprint(server);
      const config = { metadata: { name: "one", attempt: 0 }, logPath: "one.log" };
      await expect(pod.create(config)).rejects.toMatchObject({ code: 13 });
      expect((await server.runtime.listContainers()).containers).toEqual([]);
      await expectNothingLeft(server, await nowWith(cold));
      const before = await footprint(server);
      await expect(pod.create(config)).rejects.toMatchObject({ code: 13 });
      await expectNothingLeft(server, before);
      const container = await (await pod.create(config)).start();
      expect(await container.sh("echo fine")).toBe("fine");
      await container.stop();
      await container.remove();
      await expectNothingLeft(server, await nowWith(before));
    },
  );
});

describe("StartContainer", () => {
  it.each(of("container.start."))("ends EXITED with a reason when it fails at %s", async (name) => {
    await armed(`${name}=2*error`);
    await using pod = await TestPod.run(server);
    const cold = await footprint(server);
    const failing = async (): Promise<void> => {
      const container = await pod.create();
      await expect(container.start()).rejects.toMatchObject({ code: 13 });
      const status = await container.exited();
      expect(status.state).toBe(ContainerState.CONTAINER_EXITED);
      expect(status.exitCode).not.toBe(0);
      expect(status.finishedAt).toBeGreaterThan(0n);
      await container.remove();
    };
    await failing();
    await expectNothingLeft(server, await nowWith(cold));
    const before = await footprint(server);
    await failing();
    await expectNothingLeft(server, before);
  });
});

describe("an undo step that fails", () => {
  it("keeps the object known until a later attempt has removed everything", async () => {
    const before = await armed("sandbox.run.record=1*error;undo.step=1*error");
    await expect(TestPod.run(server)).rejects.toThrow();
    await server.removePods();
    expect((await server.runtime.listPodSandbox()).items).toEqual([]);
    await expectNothingLeft(server, await nowWith(before), 15_000);
  });
});

describe.each(["sandbox.stop.detach", "sandbox.remove.shutdown"])(
  "a pod whose removal fails at %s",
  (name) => {
    it("is removed by the next attempt", async () => {
      const before = await armed(`${name}=1*error`);
      const pod = await TestPod.run(server);
      await pod.start();
      await pod.remove().catch(() => {});
      await pod.remove();
      expect((await server.runtime.listPodSandbox()).items).toEqual([]);
      await expectNothingLeft(server, await nowWith(before), 15_000);
    });
  },
);
