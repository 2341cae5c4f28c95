import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { constants, createDeflate } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { spdyDictionary } from "../../cri-server/src/edge/stream/spdy-dictionary.ts";
import { controlFrame, frameType, pingFrame } from "../../cri-server/src/edge/stream/spdy-frames.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { isEmulated } from "../lib/kernel.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";
import { Streaming } from "../lib/streaming.ts";

let server: Berthd;
let pod: TestPod;
let container: TestContainer;
let streaming: Streaming;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  pod = await TestPod.run(server);
  container = await pod.start();
  streaming = new Streaming(server);
});

afterAll(() => server[Symbol.asyncDispose]());

const execUrl = async (...cmd: string[]) =>
  (await server.runtime.exec({ containerId: container.id, cmd, stdin: true, stdout: true })).url;
const forwardUrl = async (port: number) =>
  (await server.runtime.portForward({ podSandboxId: pod.id, port: [port] })).url;

/** A connection to where the URL leads, with one request sent. Errors of it are what these clients expect. */
function send(url: string, request: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.write(request);
  return socket;
}

async function spdy(url: string, protocol: string): Promise<Socket> {
  const upgrade = `Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}`;
  const socket = send(url, `POST ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n\r\n`);
  expect(String((await once(socket, "data"))[0])).toContain("101 Switching");
  return socket;
}

async function webSocket(url: string, protocol: string): Promise<Socket> {
  const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  const head = `GET ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n${key}`;
  const socket = send(url, `${head}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`);
  expect(String((await once(socket, "data"))[0])).toContain("101 Switching");
  return socket;
}

/** SYN_STREAM frames; all header blocks of a connection are one compressed stream. */
class Opener {
  readonly #deflate = createDeflate({ dictionary: spdyDictionary });
  #id = -1;

  async open(headers: Readonly<Record<string, string>>): Promise<{ id: number; frame: Buffer }> {
    const word = (value: number) => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
    const text = (value: string) => [word(value.length), Buffer.from(value, "latin1")];
    const entries = Object.entries(headers);
    const chunks: Buffer[] = [];
    const collect = (chunk: Buffer) => void chunks.push(chunk);
    this.#deflate.on("data", collect);
    this.#deflate.write(Buffer.concat([word(entries.length), ...entries.flat().flatMap(text)]));
    await new Promise<void>((resolve) => this.#deflate.flush(constants.Z_SYNC_FLUSH, () => resolve()));
    this.#deflate.off("data", collect);
    this.#id += 2;
    const head = Buffer.concat([word(this.#id), Buffer.alloc(6), ...chunks]);
    return { id: this.#id, frame: controlFrame(frameType.synStream, 0, head) };
  }
}

const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()));

/** Waits until the server takes more. False: it takes nothing for two seconds, or has hung up. */
async function takesMore(socket: Socket): Promise<boolean> {
  for (let waits = 0; waits < 2000 && socket.writableNeedDrain; waits += 1) await sleep(1);
  return !socket.writableNeedDrain && !socket.destroyed;
}

/** Writes the same again and again and reads nothing. Whether the server stops to take it, and MiB of memory that it cost. */
async function flood(socket: Socket, bytes: Buffer) {
  socket.pause();
  const before = streaming.memory();
  const end = performance.now() + 15_000;
  let more = true;
  while (more && performance.now() < end) more = socket.write(bytes) || (await takesMore(socket));
  const cost = streaming.memory() - before;
  socket.destroy();
  await server.runtime.version();
  return { isHeldBack: !more, cost };
}

const repeated = (frame: Buffer) => Buffer.concat(Array.from({ length: 5000 }, () => frame));
/** Memory that any session may cost, its garbage included. */
const fewMiB = 60;

/** A client's frame: FIN and opcode, length as given, mask of zeros. */
function frame(first: number, length: readonly number[], payload: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.from([first, ...length, 0, 0, 0, 0]), payload]);
}

describe("a client that sends without reading", () => {
  it("can't make the server keep its answers: SPDY pings", async () => {
    const socket = await spdy(await execUrl("cat"), "v4.channel.k8s.io");
    const { isHeldBack, cost } = await flood(socket, repeated(pingFrame(1)));
    expect(isHeldBack).toBe(true);
    expect(cost).toBeLessThan(fewMiB);
  });

  it("can't by streams that it takes back at once", async () => {
    const socket = await spdy(await forwardUrl(80), "portforward.k8s.io");
    const opener = new Opener();
    const before = streaming.memory();
    const end = performance.now() + 5000;
    socket.resume();
    for (let index = 0; performance.now() < end; index += 1) {
      const requestid = `${index}`.padEnd(6000, "x");
      const { id, frame } = await opener.open({ streamtype: "error", port: "80", requestid });
      const reset = controlFrame(frameType.rstStream, 0, Buffer.from([0, 0, id >>> 8, id & 255, 0, 0, 0, 5]));
      if (id > 65_535) break;
      if (!socket.write(Buffer.concat([frame, reset]))) await takesMore(socket);
    }
    await server.runtime.version();
    expect(streaming.memory() - before).toBeLessThan(fewMiB);
    socket.destroy();
  });

  it("can't by WebSocket pings", async () => {
    const socket = await webSocket(await execUrl("cat"), "v5.channel.k8s.io");
    const { isHeldBack, cost } = await flood(socket, repeated(frame(0x89, [0x80 | 125], Buffer.alloc(125))));
    expect(isHeldBack).toBe(true);
    expect(cost).toBeLessThan(fewMiB);
  });
});

describe("a client that lies about sizes", () => {
  it("is cut off at a header block that swells", async () => {
    const socket = await spdy(await execUrl("cat"), "v4.channel.k8s.io");
    const { frame: bomb } = await new Opener().open({ streamtype: "x".repeat(30 << 20) });
    const before = streaming.memory();
    socket.write(bomb.subarray(0, 8 + 65_000));
    socket.resume();
    await closed(socket);
    expect(streaming.memory() - before).toBeLessThan(fewMiB);
  });

  const kinds: readonly (readonly [string, Buffer])[] = [
    ["a frame of 2^63 bytes", frame(0x82, [0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255])],
    ["a frame of more than four MiB", frame(0x82, [0xff, 0, 0, 0, 0, 0, 64, 0, 1])],
    [
      "a hundred thousand fragments",
      Buffer.concat(
        Array.from({ length: 100_000 }, (_, at) => frame(at === 0 ? 2 : 0, [0x81], Buffer.from([0]))),
      ),
    ],
    ["a frame without a mask", Buffer.from([0x82, 1, 0])],
    ["an opcode that is none", frame(0x83, [0x80])],
    ["a compressed frame", frame(0xc2, [0x81], Buffer.from([0]))],
    ["a ping that is too long", frame(0x89, [0xfe, 1, 0], Buffer.alloc(256))],
  ];

  it.each(kinds)("is cut off at %s", async (_name, bytes) => {
    const socket = await webSocket(await execUrl("cat"), "v5.channel.k8s.io");
    const ended = closed(socket);
    socket.resume();
    socket.write(bytes);
    await ended;
  });

  it("is refused a request line or headers without end", async () => {
    const url = await execUrl("true");
    for (const request of [`GET /${"x".repeat(1 << 20)}`, `GET / HTTP/1.1\r\nX: ${"x".repeat(1 << 20)}`]) {
      const socket = send(url, request);
      const ended = closed(socket);
      socket.resume();
      await ended;
    }
  });
});

describe("whoever reaches the streaming server's address", () => {
  it("can't take its descriptors by connections that say nothing, nor keep others out", async () => {
    const url = await execUrl("true");
    const before = streaming.openFiles();
    const idle: Socket[] = [];
    // No more at a time than wait to be accepted: a connection beyond would be open for its client alone.
    while (idle.length < (isEmulated ? 600 : 2500)) {
      const some = Array.from({ length: 100 }, (_, at) =>
        send(url, at % 2 === 0 ? "GET /exec/x HTTP/1.1\r\nX-Slow: " : "").resume(),
      );
      await Promise.all(some.map((socket) => once(socket, "connect")));
      idle.push(...some);
    }
    await eventually(() => {
      const left = idle.filter((socket) => !socket.destroyed).length;
      if (left > 300) throw new Error(`${left} connections are still open`);
    }, 20_000);
    expect(streaming.openFiles() - before).toBeLessThan(320);
    const output = await run("sh", ["-c", streaming.command(["exec", container.id, "echo", "served"])]);
    expect(output.trim()).toBe("served");
    for (const socket of idle) socket.destroy();
  }, 120_000);

  it("gets nowhere without a token, whatever host and origin it names, and a page can't use one up", async () => {
    const url = await execUrl("true");
    const { origin, pathname } = new URL(url);
    const guesses = [
      "/exec/",
      `/exec/${"A".repeat(24)}`,
      `/exec/../..${pathname}`,
      `/metrics`,
      "/",
      `${pathname}/x`,
    ];
    for (const guess of guesses) {
      const headers =
        "Host: evil.example\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket";
      const socket = send(origin, `GET ${guess} HTTP/1.1\r\n${headers}\r\n\r\n`);
      expect(String((await once(socket, "data"))[0]), guess).toContain("404 Not Found");
      socket.destroy();
    }
    expect((await fetch(url)).status).toBe(400);
    expect((await fetch(url, { method: "POST", mode: "no-cors", body: "x" })).status).toBe(400);
    (await spdy(url, "v4.channel.k8s.io")).destroy();
  });

  it("is forwarded into the pod's network and to nothing else", async () => {
    const host = createServer((socket) => socket.end("the host's"));
    await new Promise<void>((resolve) => host.listen(0, "127.0.0.1", resolve));
    const { port } = host.address() as { readonly port: number };
    const socket = await spdy(await forwardUrl(port), "portforward.k8s.io");
    const opener = new Opener();
    for (const streamtype of ["error", "data"]) {
      socket.write((await opener.open({ streamtype, port: String(port), requestid: "0" })).frame);
    }
    let answer = "";
    socket.on("data", (bytes: Buffer) => {
      answer += bytes.toString("latin1");
    });
    await eventually(() => {
      if (!answer.includes("error forwarding port")) throw new Error("no answer yet");
    });
    expect(answer).not.toContain("the host's");
    socket.destroy();
    host.close();
  });
});
