import {
  dataHead,
  type FrameHead,
  flagFin,
  frameType,
  goAwayFrame,
  headLength,
  parseHead,
  pingFrame,
  resetFrame,
  resetStatus,
  synReplyFrame,
} from "./spdy-frames.ts";
import { EmptyHeaderWriter, HeaderReader } from "./spdy-headers.ts";
import { SpdyStream, type StreamOwner } from "./spdy-stream.ts";
import type { ByteTransport } from "./transport.ts";

/** A port-forward client may open two for each connection; a number that only a broken client reaches. */
const maxStreams = 2000;
/** Control frames are small; a longer one is not SPDY. */
const maxControlBytes = 64 * 1024;
/** So many answers of ours may wait for a client to read. One that sends pings or streams and reads nothing isn't read either. */
const maxOwed = 100;
/** To a client that waits while we hold it back something is sent, so that one that has gone is noticed by the write. */
const heartbeatMs = 2000;
/**
 * As if it answered a ping of the client's: those have odd numbers, and one that it never sent it must ignore (SPDY/3.1, 2.6.5).
 * A ping of ours it would have to answer. moby/spdystream does that where it reads, so while its writes are held back it
 * would not read either, and a connection that is full in both directions would stand still for ever.
 */
const heartbeat = pingFrame(0x7fffffff);

const none = (): void => {};

interface Payload {
  readonly stream: SpdyStream | undefined;
  left: number;
  readonly fin: boolean;
}

/**
 * The server's side of a SPDY/3.1 connection as Kubernetes speaks it: no flow control windows (its clients never send
 * WINDOW_UPDATE, moby/spdystream), so back-pressure is the connection's own.
 */
export class SpdyConnection implements StreamOwner {
  readonly #transport: ByteTransport;
  readonly #onStream: (stream: SpdyStream) => void;
  readonly #onActivity: () => void;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #held = new Set<SpdyStream>();
  readonly #headers = new HeaderReader();
  readonly #empty = new EmptyHeaderWriter();
  readonly #heartbeat: NodeJS.Timeout;
  #chunks: Buffer[] = [];
  #buffered = 0;
  /** The data frame whose payload is coming. */
  #payload: Payload | undefined;
  #working = false;
  /** Answers that the kernel has not taken yet. */
  #owed = 0;
  #lastStreamId = 0;
  #closing = false;

  constructor(
    transport: ByteTransport,
    onStream: (stream: SpdyStream) => void,
    onActivity: () => void = none,
  ) {
    this.#transport = transport;
    this.#onStream = onStream;
    this.#onActivity = onActivity;
    this.#heartbeat = setInterval(() => {
      if (this.#held.size > 0) {
        transport.write([heartbeat], none);
      }
    }, heartbeatMs);
    this.#heartbeat.unref();
    void transport.closed.then(() => this.#finish());
    transport.onData((bytes) => this.#receive(bytes));
  }

  /** Resolves when the connection is closed. */
  get closed(): Promise<void> {
    return this.#transport.closed;
  }

  /** Says goodbye after what has been written, and closes. */
  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.#transport.write([goAwayFrame(this.#lastStreamId)], none);
      // Whatever still comes is of no interest, but the end has to be seen.
      this.#held.clear();
      this.#transport.resume();
      this.#transport.end();
    }
    await this.closed;
  }

  destroy(): void {
    this.#transport.destroy();
  }

  sendData(streamId: number, parts: readonly Buffer[], done: () => void): void {
    this.#onActivity();
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#transport.write([dataHead(streamId, 0, length), ...parts], done);
  }

  sendFin(streamId: number): void {
    this.#transport.write([dataHead(streamId, flagFin, 0)], none);
  }

  sendReset(streamId: number): void {
    this.#answer(resetFrame(streamId, resetStatus.cancel));
  }

  hold(stream: SpdyStream): void {
    if (!this.#closing && this.#held.add(stream).size === 1) {
      this.#transport.pause();
    }
  }

  release(stream: SpdyStream): void {
    if (this.#held.delete(stream)) {
      this.#goOn();
    }
  }

  get #stands(): boolean {
    return this.#held.size > 0 || this.#owed >= maxOwed;
  }

  #goOn(): void {
    if (!this.#stands && !this.#closing) {
      this.#transport.resume();
      this.#work();
    }
  }

  /** A frame that the client has caused. */
  #answer(frame: Buffer): void {
    this.#owed += 1;
    this.#transport.write([frame], () => {
      this.#owed -= 1;
      if (this.#owed === maxOwed - 1) {
        this.#goOn();
      }
    });
    if (this.#owed >= maxOwed && !this.#closing) {
      this.#transport.pause();
    }
  }

  remove(stream: SpdyStream): void {
    this.#streams.delete(stream.id);
  }

  #finish(): void {
    clearInterval(this.#heartbeat);
    this.#closing = true;
    this.#headers.close();
    this.#chunks = [];
    this.#held.clear();
    for (const stream of this.#streams.values()) {
      stream.reset(false);
    }
  }

  #receive(bytes: Buffer): void {
    if (this.#closing) {
      return;
    }
    this.#chunks.push(bytes);
    this.#buffered += bytes.length;
    this.#work();
  }

  /** Takes frames out of what has come, until more is needed, a stream is full, or a header block is being read. */
  #work(): void {
    if (this.#working) {
      return;
    }
    this.#working = true;
    try {
      while (!this.#stands && !this.#closing) {
        const wait = this.#step();
        if (wait === "more") {
          break;
        }
        if (wait !== undefined) {
          void this.#continueAfter(wait);
          return;
        }
      }
    } catch {
      // What it sends is not SPDY; there is no way to tell it so.
      this.destroy();
    }
    this.#working = false;
  }

  async #continueAfter(wait: Promise<void>): Promise<void> {
    try {
      await wait;
    } catch {
      this.destroy();
    }
    this.#working = false;
    this.#work();
  }

  #step(): "more" | Promise<void> | undefined {
    if (this.#payload !== undefined) {
      return this.#takePayload(this.#payload);
    }
    const bytes = this.#peek(headLength);
    if (bytes === undefined) {
      return "more";
    }
    const head = parseHead(bytes);
    if (head.kind === "data") {
      this.#take(headLength);
      const stream = this.#streams.get(head.streamId);
      this.#payload = { stream, left: head.length, fin: (head.flags & flagFin) !== 0 };
      return undefined;
    }
    if (head.version !== 3 || head.length > maxControlBytes) {
      throw new RangeError(`a control frame of version ${head.version} and ${head.length} bytes`);
    }
    if (this.#buffered < headLength + head.length) {
      return "more";
    }
    return this.#control(head, this.#take(headLength + head.length).subarray(headLength));
  }

  #takePayload(payload: Payload): "more" | undefined {
    const first = this.#chunks[0];
    if (payload.left > 0) {
      if (first === undefined) {
        return "more";
      }
      const part = this.#take(Math.min(payload.left, first.length));
      payload.left -= part.length;
      this.#onActivity();
      payload.stream?.accept(part);
    }
    if (payload.left === 0) {
      this.#payload = undefined;
      if (payload.fin) {
        payload.stream?.acceptFin();
      }
    }
    return undefined;
  }

  #control(head: FrameHead & { kind: "control" }, payload: Buffer): Promise<void> | undefined {
    switch (head.type) {
      case frameType.synStream:
        return this.#open(payload.readUInt32BE(0) & 0x7fffffff, head.flags, payload.subarray(10));
      case frameType.synReply:
      case frameType.headers:
        // Of no use here, but left out they would put the decompressor out of step.
        return this.#headers.read(payload.subarray(4)).then(none);
      case frameType.rstStream:
        this.#streams.get(payload.readUInt32BE(0) & 0x7fffffff)?.reset(false);
        return undefined;
      case frameType.ping:
        // Odd ids are the client's own; an even one answers ours.
        if (payload.readUInt32BE(0) % 2 === 1) {
          this.#answer(pingFrame(payload.readUInt32BE(0)));
        }
        return undefined;
      default:
        // SETTINGS, WINDOW_UPDATE, GOAWAY (the connection's end follows), and types that we don't know: no effect.
        return undefined;
    }
  }

  async #open(id: number, flags: number, block: Buffer): Promise<void> {
    const headers = await this.#headers.read(block);
    if (id % 2 === 0 || id <= this.#lastStreamId) {
      this.#answer(resetFrame(id, resetStatus.protocolError));
      return;
    }
    this.#lastStreamId = id;
    if (this.#streams.size >= maxStreams) {
      this.#answer(resetFrame(id, resetStatus.refusedStream));
      return;
    }
    const stream = new SpdyStream(id, headers, this);
    this.#streams.set(id, stream);
    this.#answer(synReplyFrame(id, this.#empty.next()));
    this.#onStream(stream);
    if ((flags & flagFin) !== 0) {
      stream.acceptFin();
    }
  }

  /** The next bytes without taking them. */
  #peek(length: number): Buffer | undefined {
    if (this.#buffered < length) {
      return undefined;
    }
    const [first] = this.#chunks;
    if (first === undefined || first.length < length) {
      this.#chunks = [Buffer.concat(this.#chunks)];
    }
    return this.#chunks[0];
  }

  #take(length: number): Buffer {
    const whole = this.#peek(length) ?? Buffer.alloc(0);
    this.#buffered -= length;
    if (whole.length === length) {
      this.#chunks.shift();
      return whole;
    }
    this.#chunks[0] = whole.subarray(length);
    return whole.subarray(0, length);
  }
}
