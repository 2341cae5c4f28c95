import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";

// Exec, attach and port-forward by stock crictl, over both transports.

const transports = ["spdy", "websocket"] as const;
const gigabyte = 1_000_000_000;

let server: Berthd;
let pod: TestPod;
let container: TestContainer;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  pod = await TestPod.run(server);
  container = await pod.start();
});
afterAll(async () => {
  await pod?.remove();
  await server?.[Symbol.asyncDispose]();
});

function crictl(
  ...args: readonly string[]
): ChildProcess & { stdin: NodeJS.WritableStream; stdout: Readable } {
  const endpoint = `unix://${server.socket}`;
  const flags = ["--runtime-endpoint", endpoint, "--image-endpoint", endpoint];
  const child = spawn("crictl", [...flags, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.on("error", () => {});
  return child;
}

/** A gigabyte whose period is no multiple of any buffer's size, so that nothing can be lost or swapped unseen. */
const source = "yes 0123456789abcdef | head -c 1000000000";

const echoServer = `
  const server = require("net").createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  server.listen(Number(process.argv[1]), "::1", () => console.log("ready"));`;

const copyClient = `
  const socket = require("net").connect({ port: Number(process.argv[1]), host: "127.0.0.1", allowHalfOpen: true });
  process.stdin.pipe(socket).pipe(process.stdout);`;

/** Where the pod's network namespace is pinned. */
function netns(): string {
  const [name = ""] = readdirSync(join(server.dir, "netns"));
  return join(server.dir, "netns", name);
}

/** crictl's command line for a shell. */
function command(args: readonly string[]): string {
  return `crictl --runtime-endpoint unix://${server.socket} --image-endpoint unix://${server.socket} ${args.join(" ")}`;
}

/** A megabyte in which every block differs, over and over. */
function* pattern(bytes: number): Generator<Buffer> {
  const block = Buffer.alloc(1 << 20);
  for (let at = 0; at < block.length; at += 8) {
    block.writeDoubleLE(Math.sqrt(at), at);
  }
  for (let left = bytes; left > 0; left -= block.length) {
    yield left < block.length ? block.subarray(0, left) : block;
  }
}

function rssMiB(): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]) / 1024;
}

function openFiles(): number {
  return readdirSync(`/proc/${server.pid}/fd`).length;
}

/** Asks the server something every few milliseconds while the work goes on; resolves with times and memory. */
async function watch<T>(work: Promise<T>) {
  const times: number[] = [];
  let peak = 0;
  let isDone = false;
  void work.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    const start = performance.now();
    await server.runtime.listContainers({});
    times.push(performance.now() - start);
    peak = Math.max(peak, rssMiB());
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.floor(times.length * part)] ?? 0;
  return { result: await work, peak, p50: at(0.5), p99: at(0.99) };
}

/** Runs a pipeline of the shell's and watches the server meanwhile. */
async function transfer(pipeline: string) {
  const start = performance.now();
  const seen = await watch(run("sh", ["-c", pipeline]));
  return { ...seen, result: seen.result.trim(), seconds: (performance.now() - start) / 1000 };
}

function report(name: string, seen: { seconds: number; peak: number; p50: number; p99: number }): void {
  const rate = Math.round(gigabyte / 1e6 / seen.seconds);
  const answers = `ListContainers p50 ${seen.p50.toFixed(1)} p99 ${seen.p99.toFixed(1)} ms`;
  console.log(`${name}: ${rate} MB/s, peak ${Math.round(seen.peak)} MiB, ${answers}`);
}

async function processesIn(command: string): Promise<number> {
  return Number(await container.sh(`ps | grep -v grep | grep -c '${command}' || true`));
}

describe.each(transports)("exec over %s", (transport) => {
  const exec = (...args: string[]) => ["exec", "--transport", transport, ...args];

  it("carries both outputs and the exit code", async () => {
    const outcome = await server.crictl.outcomeOf(
      exec(container.id, "sh", "-c", "echo out; echo err >&2; exit 3"),
    );
    expect(outcome.stdout).toBe("out\n");
    expect(outcome.stderr).toContain("err\n");
    expect(outcome.stderr).toContain("exit code 3");
  });

  it("hands on the end of stdin", async () => {
    const outcome = await server.crictl.outcomeOf(exec("-i", container.id, "sh", "-c", "cat; echo end"), {
      input: "typed\n",
    });
    expect(outcome).toMatchObject({ code: 0, stdout: "typed\nend\n" });
  });

  it("reports a command that doesn't exist", async () => {
    const outcome = await server.crictl.outcomeOf(exec(container.id, "no-such-command"));
    expect(outcome.code).not.toBe(0);
    expect(outcome.stderr).toContain("no-such-command");
  });

  it("doesn't wait for what the command leaves running", async () => {
    const start = performance.now();
    const outcome = await server.crictl.outcomeOf(exec(container.id, "sh", "-c", "sleep 20 & echo done"));
    expect(outcome).toMatchObject({ code: 0, stdout: "done\n" });
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it("gives the command a terminal of the client's size", async () => {
    const line = command(exec("-it", container.id, "sh", "-c", "'sleep 0.5; stty size; tty'"));
    const child = spawn("script", ["-qec", `stty rows 33 cols 101; ${line}`, "/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const chunks = await child.stdout.toArray();
    expect(Buffer.concat(chunks).toString()).toContain("33 101\r\n/dev/pts/");
  });

  it("brings a gigabyte out intact, with flat memory and prompt answers", async () => {
    const expected = await container.sh(`${source} | sha256sum`);
    const before = rssMiB();
    const seen = await transfer(`${command(exec(container.id, "sh", "-c", `'${source}'`))} | sha256sum`);
    report(`exec ${transport} out`, seen);
    expect(seen.result).toBe(expected);
    expect(seen.peak - before).toBeLessThan(64);
    expect(seen.p50).toBeLessThan(10);
  });

  it("brings a gigabyte in intact, with flat memory and prompt answers", async () => {
    const before = rssMiB();
    const expected = await run("sh", ["-c", `${source} | sha256sum`]);
    const seen = await transfer(`${source} | ${command(exec("-i", container.id, "sha256sum"))}`);
    report(`exec ${transport} in`, seen);
    expect(seen.result).toBe(expected.trim());
    expect(seen.peak - before).toBeLessThan(64);
    expect(seen.p50).toBeLessThan(10);
  });

  it("takes no more than a slow reader takes", async () => {
    const before = rssMiB();
    const child = crictl(...exec(container.id, "sh", "-c", "cat /dev/zero | head -c 300000000"));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(rssMiB() - before).toBeLessThan(60);
    let total = 0;
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      total += chunk.length;
    }
    expect(total).toBe(300_000_000);
  });

  it("waits for a command that reads late", async () => {
    const before = rssMiB();
    const child = crictl(...exec("-i", container.id, "sh", "-c", "sleep 1.5; wc -c"));
    Readable.from(pattern(100_000_000)).pipe(child.stdin);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(rssMiB() - before).toBeLessThan(60);
    expect(
      Buffer.concat(await child.stdout.toArray())
        .toString()
        .trim(),
    ).toBe("100000000");
  });

  it.each([
    ["waits", ["sleep", "7777"]],
    ["writes", ["sh", "-c", "yes 7777"]],
    ["reads nothing", ["sh", "-c", "sleep 7777"]],
  ])("leaves nothing of a client that vanishes while the command %s", async (_name, command) => {
    const files = openFiles();
    const child = crictl(...exec("-i", container.id, ...command));
    const feed = Readable.from(pattern(1 << 30)).pipe(child.stdin);
    child.stdout.pause();
    await eventually(async () => expect(await processesIn("7777")).toBeGreaterThan(0));
    await new Promise((resolve) => setTimeout(resolve, 300));
    child.kill("SIGKILL");
    feed.end();
    await eventually(async () => expect(await processesIn("7777")).toBe(0), 10_000);
    await eventually(() => expect(openFiles()).toBeLessThanOrEqual(files));
  });
});

describe.each(transports)("attach over %s", (transport) => {
  const attach = (...args: string[]) => crictl("attach", "--transport", transport, ...args);
  const firstLine = async (child: { stdout: Readable }) => String((await once(child.stdout, "data"))[0]);

  it("shows the output to several clients, and types for each", async () => {
    const cat = await pod.start({ command: ["cat"], stdin: true });
    const [one, two] = [attach("-i", cat.id), attach("-i", cat.id)];
    // Both have to be attached before anything is written.
    await new Promise((resolve) => setTimeout(resolve, 700));
    const lines = [firstLine(one), firstLine(two)];
    one.stdin.write("hello\n");
    expect(await Promise.all(lines)).toEqual(["hello\n", "hello\n"]);
    one.kill("SIGKILL");
    const again = firstLine(two);
    two.stdin.write("still here\n");
    expect(await again).toBe("still here\n");
    two.kill("SIGKILL");
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
    const files = openFiles();
    const child = attach(container.id);
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill("SIGKILL");
    await eventually(() => expect(openFiles()).toBeLessThanOrEqual(files));
    expect(await container.sh("echo alive")).toBe("alive");
  });
});

describe.each(transports)("port-forward over %s", (transport) => {
  let forwarder: ChildProcess & { stdout: Readable };
  let port: number;
  let service: ChildProcess;

  beforeAll(async () => {
    // Echoes, on the IPv6 localhost only: the IPv4 one is refused first.
    service = spawn("nsenter", [`--net=${netns()}`, process.execPath, "-e", echoServer, "7001"]);
    await once(service.stdout ?? service, "data");
    forwarder = crictl("port-forward", "--transport", transport, pod.id, ":7001", ":7002");
    port = Number(/:(\d+) -> 7001/.exec(String((await once(forwarder.stdout, "data"))[0]))?.[1]);
  });
  afterAll(async () => {
    forwarder?.kill("SIGKILL");
    service.kill("SIGKILL");
    await once(service, "close");
  });

  it("carries a gigabyte there and back intact", async () => {
    const expected = await run("sh", ["-c", `${source} | sha256sum`]);
    const seen = await transfer(`${source} | node -e '${copyClient}' ${port} | sha256sum`);
    report(`port-forward ${transport} there and back`, seen);
    expect(seen.result).toBe(expected.trim());
  });

  it("serves many connections at once", async () => {
    const files = openFiles();
    const answers = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
        socket.end(`connection ${index}`);
        return Buffer.concat(await socket.toArray()).toString();
      }),
    );
    expect(answers).toEqual(answers.map((_, index) => `connection ${index}`));
    await eventually(() => expect(openFiles()).toBeLessThanOrEqual(files));
  });
});

describe("the streaming server", () => {
  async function upgrade(url: string, headers: string): Promise<string> {
    const { hostname, port, pathname } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.write(`POST ${pathname} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n${headers}\r\n\r\n`);
    const [answer] = await once(socket, "data");
    socket.destroy();
    return String(answer);
  }
  const issue = async () =>
    (await server.runtime.exec({ containerId: container.id, cmd: ["true"], stdout: true })).url;
  const spdy = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io";

  it("listens on loopback, and takes a token once", async () => {
    const url = await issue();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{20,}$/);
    expect(await upgrade(url, spdy)).toContain("101 Switching Protocols");
    expect(await upgrade(url, spdy)).toContain("404 Not Found");
    expect(await upgrade((await issue()).replace("/exec/", "/attach/"), spdy)).toContain("404");
  });

  it("names the protocols that it speaks to a client that speaks none of them", async () => {
    const answer = await upgrade(
      await issue(),
      "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9.channel.k8s.io",
    );
    expect(answer).toContain("403 Forbidden");
    expect(answer).toContain("X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io");
    expect(await upgrade(await issue(), "Upgrade: telnet")).toContain("400 Bad Request");
  });

  it.each([
    [{ cmd: ["true"] }, /stdin, stdout, stderr/],
    [{ cmd: [], stdout: true }, /cmd/],
    [{ cmd: ["true"], stdout: true, stderr: true, tty: true }, /stderr/],
  ])("refuses an exec of %j", async (request, message) => {
    await expect(server.runtime.exec({ containerId: container.id, ...request })).rejects.toMatchObject({
      code: 3,
      message: expect.stringMatching(message),
    });
  });

  it("refuses to attach to what doesn't run, and what doesn't exist", async () => {
    const created = await pod.create();
    await expect(server.runtime.attach({ containerId: created.id, stdout: true })).rejects.toMatchObject({
      code: 9,
    });
    await expect(server.runtime.attach({ containerId: "f".repeat(64), stdout: true })).rejects.toMatchObject({
      code: 5,
    });
    await expect(server.runtime.portForward({ podSandboxId: "f".repeat(64) })).rejects.toMatchObject({
      code: 5,
    });
    await created.remove();
  });
});
