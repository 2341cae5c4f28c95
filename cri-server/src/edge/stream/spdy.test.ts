import { constants, createDeflate, createInflate } from "node:zlib";
import { describe, expect, it, vi } from "vitest";
import { SpdyConnection } from "./spdy-connection.ts";
import { spdyDictionary, spdyDictionaryId } from "./spdy-dictionary.ts";
import { controlFrame, dataHead, flagFin, frameType, parseHead, pingFrame } from "./spdy-frames.ts";
import { EmptyHeaderWriter, HeaderReader } from "./spdy-headers.ts";
import type { SpdyStream } from "./spdy-stream.ts";
import type { ByteTransport } from "./transport.ts";

function adler32(bytes: Buffer): number {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65_521;
    high = (high + low) % 65_521;
  }
  return high * 65_536 + low;
}

/** Writes header blocks as clients do: one compressor for the whole connection. */
class Client {
  readonly #deflate = createDeflate({ dictionary: spdyDictionary });

  async block(headers: Record<string, string>): Promise<Buffer> {
    const number = (value: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return bytes;
    };
    const text = (value: string) => [number(value.length), Buffer.from(value)];
    const entries = Object.entries(headers);
    const plain = Buffer.concat([number(entries.length), ...entries.flat().flatMap(text)]);
    const chunks: Buffer[] = [];
    const collect = (chunk: Buffer) => void chunks.push(chunk);
    this.#deflate.on("data", collect);
    this.#deflate.write(plain);
    await new Promise<void>((resolve) => this.#deflate.flush(constants.Z_SYNC_FLUSH, () => resolve()));
    this.#deflate.off("data", collect);
    return Buffer.concat(chunks);
  }

  async open(id: number, headers: Record<string, string>, flags = 0): Promise<Buffer> {
    const head = Buffer.alloc(10);
    head.writeUInt32BE(id);
    return controlFrame(frameType.synStream, flags, Buffer.concat([head, await this.block(headers)]));
  }
}

function data(id: number, text: string, flags = 0): Buffer {
  return Buffer.concat([dataHead(id, flags, text.length), Buffer.from(text)]);
}

/** A connection whose wire is in memory. */
function fixture() {
  let feed: (bytes: Buffer) => void = () => {};
  const closed = Promise.withResolvers<void>();
  const wire = { sent: [] as Buffer[], paused: false, ended: false, destroyed: false };
  const transport: ByteTransport = {
    closed: closed.promise,
    onData: (listener) => {
      feed = listener;
    },
    write: (parts, done) => {
      wire.sent.push(Buffer.concat(parts));
      done();
    },
    pause: () => {
      wire.paused = true;
    },
    resume: () => {
      wire.paused = false;
    },
    end: () => {
      wire.ended = true;
      closed.resolve();
    },
    destroy: () => {
      wire.destroyed = true;
      closed.resolve();
    },
  };
  const streams: SpdyStream[] = [];
  const connection = new SpdyConnection(transport, (stream) => streams.push(stream));
  const settle = () => new Promise((resolve) => setTimeout(resolve, 10));
  return { connection, wire, streams, send: (bytes: Buffer) => feed(bytes), settle };
}

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  let all = "";
  for await (const chunk of stream) {
    all += chunk.toString();
  }
  return all;
}

describe("the dictionary", () => {
  it("is the draft's", () => {
    expect(spdyDictionary.length).toBe(1423);
    expect(adler32(spdyDictionary)).toBe(spdyDictionaryId);
  });
});

describe("header blocks", () => {
  it("are read in order, as one compressed stream", async () => {
    const [client, reader] = [new Client(), new HeaderReader()];
    for (const headers of [{ streamType: "stdin" }, { streamType: "stdout", port: "80" }, {}]) {
      const read = await reader.read(await client.block(headers));
      const expected = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
      expect([...read]).toEqual(expected);
    }
  });

  it("are written so that any zlib reads each at once", async () => {
    const writer = new EmptyHeaderWriter();
    const inflate = createInflate({ dictionary: spdyDictionary });
    const chunks: Buffer[] = [];
    inflate.on("data", (chunk) => chunks.push(chunk));
    for (let count = 1; count <= 3; count += 1) {
      await new Promise<void>((resolve) => inflate.write(writer.next(), () => resolve()));
      expect(Buffer.concat(chunks)).toEqual(Buffer.alloc(4 * count));
    }
  });

  it.each([Buffer.from("no zlib"), Buffer.alloc(0)])("are refused when damaged", async (block) => {
    await expect(new HeaderReader().read(block)).rejects.toThrow();
  });

  it("are refused when they are bombs", async () => {
    await expect(
      new HeaderReader().read(await new Client().block({ a: "x".repeat(200_000) })),
    ).rejects.toThrow();
  });
});

describe("a connection", () => {
  it("puts frames together whatever the pieces that they come in", async () => {
    const client = new Client();
    const bytes = Buffer.concat([
      await client.open(1, { streamType: "stdin" }),
      data(1, "hello "),
      await client.open(3, { streamType: "stdout" }),
      data(1, "world", flagFin),
    ]);
    for (const size of [1, 7, 64, bytes.length]) {
      const { streams, send, settle } = fixture();
      for (let at = 0; at < bytes.length; at += size) {
        send(bytes.subarray(at, at + size));
      }
      await settle();
      expect(streams.map((stream) => stream.headers.get("streamtype"))).toEqual(["stdin", "stdout"]);
      const [stdin] = streams;
      expect(stdin && (await text(stdin.incoming))).toBe("hello world");
    }
  });

  it("answers pings of the client's, not answers to its own", async () => {
    const { wire, send } = fixture();
    send(pingFrame(7));
    send(pingFrame(2));
    expect(wire.sent).toEqual([pingFrame(7)]);
  });

  it("holds the connection while a stream is full", async () => {
    const { wire, streams, send, settle } = fixture();
    send(await new Client().open(1, {}));
    await settle();
    for (let count = 0; count < 40; count += 1) {
      send(data(1, "x".repeat(16_384)));
    }
    expect(wire.paused).toBe(true);
    expect(streams[0]?.incoming.readableLength).toBeLessThan(300_000);
    streams[0]?.incoming.resume();
    await settle();
    expect(wire.paused).toBe(false);
  });

  it("sends what needs no answer while it holds the connection", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    try {
      const { wire, connection, send, settle } = fixture();
      send(await new Client().open(1, {}));
      await settle();
      wire.sent.length = 0;
      vi.advanceTimersByTime(60_000);
      expect(wire.sent).toEqual([]);
      send(data(1, "x".repeat(300_000)));
      expect(wire.paused).toBe(true);
      vi.advanceTimersByTime(4000);
      const ids = wire.sent.map((frame) => frame.readUInt32BE(8));
      expect(wire.sent).toEqual(ids.map(pingFrame));
      // An even number is a ping of ours, and would have to be answered.
      expect(ids.map((id) => id % 2)).toEqual([1, 1]);
      connection.destroy();
    } finally {
      vi.useRealTimers();
    }
  });

  it("sends data and half-closes", async () => {
    const { wire, streams, send, settle } = fixture();
    send(await new Client().open(1, {}));
    await settle();
    wire.sent.length = 0;
    streams[0]?.outgoing.end("bye");
    await settle();
    expect(Buffer.concat(wire.sent)).toEqual(Buffer.concat([data(1, "bye"), dataHead(1, flagFin, 0)]));
  });

  it("refuses ids that are even or don't grow", async () => {
    const client = new Client();
    const { wire, streams, send, settle } = fixture();
    send(Buffer.concat([await client.open(3, {}), await client.open(2, {}), await client.open(3, {})]));
    await settle();
    expect(streams).toHaveLength(1);
    expect(
      wire.sent.map((frame) => parseHead(frame)).map((head) => head.kind === "control" && head.type),
    ).toEqual([frameType.synReply, frameType.rstStream, frameType.rstStream]);
  });

  it("passes over what it doesn't need", async () => {
    const client = new Client();
    const { streams, send, settle } = fixture();
    const number = Buffer.alloc(4);
    send(controlFrame(frameType.settings, 0, Buffer.alloc(12)));
    send(controlFrame(frameType.windowUpdate, 0, Buffer.alloc(8)));
    send(controlFrame(frameType.headers, 0, Buffer.concat([number, await client.block({ a: "b" })])));
    send(controlFrame(99, 0, Buffer.alloc(3)));
    send(data(77, "for nobody"));
    send(await client.open(1, { streamType: "error" }));
    await settle();
    expect(streams[0]?.headers.get("streamtype")).toBe("error");
  });

  it("ends when the bytes are no SPDY", async () => {
    const { wire, send } = fixture();
    send(Buffer.from("\x80\x02\x00\x01aaaaaaaaaaaaaaaaaaaaaaaaa"));
    expect(wire.destroyed).toBe(true);
  });

  it("survives whatever it is sent", async () => {
    const client = new Client();
    const valid = Buffer.concat([
      await client.open(1, { streamType: "stdin" }),
      data(1, "hello"),
      pingFrame(1),
      await client.open(3, { streamType: "error", port: "80" }, flagFin),
      data(3, "more", flagFin),
      controlFrame(frameType.goAway, 0, Buffer.alloc(8)),
    ]);
    // A linear congruential generator: the same bytes are changed in every run.
    let seed = 7;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % limit;
    };
    for (let round = 0; round < 300; round += 1) {
      const { send, streams, connection, settle } = fixture();
      const bytes = Buffer.from(valid);
      for (let changes = random(6); changes >= 0; changes -= 1) {
        bytes[random(bytes.length)] = random(256);
      }
      send(bytes.subarray(0, 1 + random(bytes.length)));
      send(bytes);
      if (round % 20 === 0) {
        await settle();
      }
      for (const stream of streams) {
        stream.incoming.resume();
      }
      connection.destroy();
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  });

  it("resets all streams when the peer is gone", async () => {
    const { connection, streams, send, settle } = fixture();
    send(await new Client().open(1, {}));
    await settle();
    connection.destroy();
    await settle();
    expect(streams[0]?.incoming.destroyed && streams[0].outgoing.destroyed).toBe(true);
  });
});
