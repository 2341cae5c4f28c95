import { once } from "node:events";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";
import { Streaming, transports } from "../lib/streaming.ts";

// Attach by stock crictl, over both transports.

let server: Berthd;
let pod: TestPod;
let container: TestContainer;
let streaming: Streaming;

beforeAll(async () => {
  server = await Berthd.start();
  streaming = new Streaming(server);
  await pull(server);
  pod = await TestPod.run(server);
  container = await pod.start();
});
afterAll(async () => {
  await pod?.remove();
  await server?.[Symbol.asyncDispose]();
});

describe.each(transports)("attach over %s", (transport) => {
  const attach = (...args: string[]) => streaming.crictl("attach", "--transport", transport, ...args);
  const firstLine = async (child: { stdout: Readable }) => String((await once(child.stdout, "data"))[0]);

  it("shows the output to several clients, and types for each", async () => {
    const cat = await pod.start({ command: ["cat"], stdin: true });
    const [one, two] = [attach("-i", cat.id), attach("-i", cat.id)];
    // Nobody tells when a client is attached: the greeting is repeated until both have heard it.
    const heard = Promise.all([firstLine(one), firstLine(two)]);
    const greet = setInterval(() => one.stdin.write("hello\n"), 200);
    for (const text of await heard.finally(() => clearInterval(greet))) {
      expect(text).toMatch(/^(hello\n)+$/);
    }
    one.kill("SIGKILL");
    two.stdin.write("still here\n");
    let shown = "";
    while (!shown.includes("still here\n")) {
      shown += await firstLine(two);
    }
    two.kill("SIGKILL");
    await cat.stop();
    await cat.remove();
  });

  it("keeps the container's stdin open when a session ends its own", async () => {
    const cat = await pod.start({ command: ["cat"], stdin: true });
    for (const text of ["first\n", "second\n"]) {
      const child = attach("-i", cat.id);
      child.stdin.end(text);
      expect(await firstLine(child)).toBe(text);
      child.kill("SIGKILL");
    }
    expect((await cat.status()).finishedAt).toBe(0n);
    await cat.stop();
    await cat.remove();
  });

  it("closes the container's stdin after the first session with stdin_once", async () => {
    const cat = await pod.start({ command: ["cat"], stdin: true, stdinOnce: true });
    const child = attach("-i", cat.id);
    child.stdin.end("typed\n");
    expect(Buffer.concat(await child.stdout.toArray()).toString()).toBe("typed\n");
    expect(await cat.exited()).toMatchObject({ exitCode: 0 });
    await cat.remove();
  });

  it("ends when the container does", async () => {
    const sleeper = await pod.script("sleep 1; echo bye");
    const child = attach(sleeper.id);
    expect(Buffer.concat(await child.stdout.toArray()).toString()).toBe("bye\n");
    await sleeper.exited();
    await sleeper.remove();
  });

  it("leaves the container alone when the client vanishes", async () => {
    const files = streaming.openFiles();
    const child = attach(container.id);
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill("SIGKILL");
    await eventually(() => expect(streaming.openFiles()).toBeLessThanOrEqual(files));
    expect(await container.sh("echo alive")).toBe("alive");
  });
});
