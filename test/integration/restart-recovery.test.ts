import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ContainerState, PodSandboxState } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { expectNothingLeft, footprint, isServersOwn } from "../lib/footprint.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  await using _first = await TestPod.run(server);
});

afterAll(() => server[Symbol.asyncDispose]());

describe.each(["SIGTERM", "SIGKILL"] as const)("after %s", (signal) => {
  it("finds pods and containers as they were, and all verbs work", async () => {
    await using pod = await TestPod.run(server, { labels: { kept: "yes" }, annotations: { "a/b": "ü" } });
    const running = await pod.start();
    const created = await pod.create();
    const ended = await pod.script("exit 9");
    await ended.exited();
    const before = { pod: await pod.status(), running: await running.status(), ended: await ended.status() };
    const [pid] = (await running.sh("ls /proc | head -1; echo mark > /file")).split("\n");

    await server.restart(signal);

    expect(await pod.status()).toEqual(before.pod);
    expect(await running.status()).toEqual(before.running);
    expect(await ended.status()).toEqual(before.ended);
    expect((await created.status()).state).toBe(ContainerState.CONTAINER_CREATED);
    expect(await running.sh("cat /file; ls /proc | head -1")).toBe(`mark\n${pid}`);
    await created.start();
    expect(await created.sh("echo started")).toBe("started");
    await running.stop();
    expect((await running.status()).exitCode).toBe(137);
    const another = await pod.start();
    expect(await another.sh("echo new")).toBe("new");
    expect(
      (await server.runtime.listContainers({ filter: { podSandboxId: pod.id } })).containers,
    ).toHaveLength(4);
  });

  it("reports what ended while it was away, with the true code and time", async () => {
    await using pod = await TestPod.run(server);
    const soon = await pod.script("sleep 1; exit 42");
    await server.stop(signal);
    await sleep(1500);
    const until = BigInt(Date.now()) * 1_000_000n;
    await sleep(300);
    await server.again();
    const status = await soon.status();
    expect(status).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 42, reason: "Error" });
    expect(status.finishedAt).toBeLessThan(until);
  });

  it("loses no line of a log written meanwhile", async () => {
    await using pod = await TestPod.run(server);
    const writer = await pod.script(
      "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i%100)) -ne 0 ] || sleep 0.05; done",
    );
    await sleep(200);
    await server.restart(signal);
    await writer.exited(20_000);
    const lines = (await writer.log()).trim().split("\n");
    expect(lines.map((line) => line.split(" ").slice(3).join(" "))).toEqual(
      Array.from({ length: 3000 }, (_, i) => `line ${i}`),
    );
  });

  it("removes what it found, whole", async () => {
    const before = await footprint(server);
    const pod = await TestPod.run(server);
    await pod.start();
    await server.restart(signal);
    await pod.remove();
    // The server is another process now: its descriptors and its helpers are others.
    const own = new Set([...before, ...[...(await footprint(server))].filter(isServersOwn)]);
    await expectNothingLeft(server, own);
    expect((await server.runtime.listPodSandbox()).items).toEqual([]);
  });
});

describe("a pod's monitor that dies", () => {
  it("takes its containers with it: exited, 137, MonitorLost, and no orphan", async () => {
    const before = await footprint(server);
    const pod = await TestPod.run(server);
    const container = await pod.start({ command: ["/bin/sleep", "98765"] });
    const added = [...(await footprint(server))].filter(
      (line) => line.startsWith("process ") && !before.has(line),
    );
    const monitor = added.find((line) => !line.includes("98765"));
    expect(monitor).toBeDefined();
    process.kill(Number(monitor?.split(" ")[1]), "SIGKILL");
    const status = await container.exited();
    expect(status).toMatchObject({ exitCode: 137, reason: "MonitorLost" });
    await eventually(async () => {
      expect([...(await footprint(server))].filter((line) => line.includes("98765"))).toEqual([]);
    });
    await pod.remove();
    const idle = [...(await footprint(server))].filter(
      (line) => line.startsWith("process ") || line.startsWith("fd "),
    );
    await expectNothingLeft(server, new Set([...before, ...idle]));
  });

  it("is found out at the next start as well", async () => {
    const before = await footprint(server);
    await using pod = await TestPod.run(server);
    const container = await pod.start({ command: ["/bin/sleep", "98766"] });
    const added = [...(await footprint(server))].filter(
      (line) => line.startsWith("process ") && !before.has(line),
    );
    await server.stop("SIGKILL");
    process.kill(Number(added.find((line) => !line.includes("98766"))?.split(" ")[1]), "SIGKILL");
    await server.again();
    expect(await container.exited()).toMatchObject({ exitCode: 137, reason: "MonitorLost" });
    expect((await pod.status()).state).toBe(PodSandboxState.SANDBOX_NOTREADY);
  });
});

describe("a server that is killed in the middle", () => {
  it("keeps every promise and no half-made pod", async () => {
    const before = await footprint(server);
    for (const delay of [5, 15, 30, 60]) {
      const attempts = Array.from({ length: 6 }, () => TestPod.run(server).catch(() => undefined));
      await sleep(delay);
      await server.stop("SIGKILL");
      const told = (await Promise.all(attempts)).filter((pod) => pod !== undefined);
      await server.again();
      const { items } = await server.runtime.listPodSandbox();
      for (const pod of told) expect(items.map(({ id }) => id)).toContain(pod.id);
      await server.removePods();
    }
    const own = new Set([...before, ...[...(await footprint(server))].filter(isServersOwn)]);
    await expectNothingLeft(server, own, 10_000);
  });
});
