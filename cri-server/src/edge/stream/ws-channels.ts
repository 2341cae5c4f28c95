import { Readable, Writable } from "node:stream";
import { finished } from "node:stream/promises";
import type { WebSocket } from "ws";
import { makeValve, type Valve, webSocketTransport } from "./transport.ts";

/** v5 only: a message that ends one of the client's streams has this channel. */
const closeChannel = 255;

const inboundBytes = 256 * 1024;
const outboundBytes = 128 * 1024;
/** While its messages are held back a client gets no answer to its pings, and gives up after a minute (client-go). */
const heartbeatMs = 2000;

export interface ChannelOptions {
  /** Messages are text: the channel's digit, then base64. For clients that have no bytes. */
  readonly base64: boolean;
  /** Channel 255 ends a stream (since v5). */
  readonly closeSignal: boolean;
  readonly onActivity: () => void;
}

/** Streams multiplexed over the messages of a WebSocket: the first byte of each says whose it is. */
export class WebSocketChannels {
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;
  readonly #socket: WebSocket;
  readonly #options: ChannelOptions;
  readonly #valve: Valve;
  readonly #readers = new Map<number, Readable>();
  readonly #listeners = new Map<number, (bytes: Buffer) => void>();
  readonly #writers: Writable[] = [];
  readonly #full = new Set<Readable>();
  #heartbeat: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(socket: WebSocket, options: ChannelOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#valve = makeValve(socket);
    this.closed = webSocketTransport(socket).closed;
    void this.closed.then(() => this.#dispose());
    socket.on("message", (message: Buffer) => this.#receive(message));
  }

  /** What the client sends on this channel. */
  reader(channel: number): Readable {
    const reader: Readable = new Readable({
      highWaterMark: inboundBytes,
      read: () => this.#release(reader),
      destroy: (error, callback) => {
        this.#release(reader);
        callback(error);
      },
    });
    this.#readers.set(channel, reader);
    return reader;
  }

  /** The same for messages that are small and have to be seen at once. */
  onMessage(channel: number, listener: (bytes: Buffer) => void): void {
    this.#listeners.set(channel, listener);
  }

  /** What the client gets on this channel. */
  writer(channel: number): Writable {
    // Used again and again: the next write waits until the kernel has taken this one.
    let frame = Buffer.alloc(0);
    const writer = new Writable({
      highWaterMark: outboundBytes,
      write: (chunk: Buffer, _encoding, callback) => {
        this.#options.onActivity();
        if (frame.length < chunk.length + 1) {
          frame = Buffer.allocUnsafeSlow(chunk.length + 1);
        }
        this.#send(frame, channel, chunk, callback);
      },
    });
    this.#writers.push(writer);
    return writer;
  }

  /** One message, behind those that have been written. */
  send(channel: number, bytes: Buffer): void {
    this.#send(Buffer.alloc(bytes.length + 1), channel, bytes, () => {});
  }

  /** Waits for what has been written, closes, and waits for the client to have gone. */
  async finish(last?: { readonly channel: number; readonly bytes: Buffer }): Promise<void> {
    for (const writer of this.#writers) {
      writer.end();
      await Promise.race([finished(writer).catch(() => undefined), this.closed]);
    }
    if (last !== undefined && last.bytes.length > 0) {
      this.send(last.channel, last.bytes);
    }
    this.#ended = true;
    this.#full.clear();
    this.#flow();
    webSocketTransport(this.#socket).end();
    await this.closed;
  }

  #receive(message: Buffer): void {
    this.#options.onActivity();
    this.#valve.spend(message.length);
    const [first] = message;
    if (first === undefined || this.#ended) {
      return;
    }
    if (this.#options.closeSignal && first === closeChannel) {
      this.#readers.get(message[1] ?? closeChannel)?.push(null);
      return;
    }
    const channel = this.#options.base64 ? first - 0x30 : first;
    const rest = message.subarray(1);
    const bytes = this.#options.base64 ? Buffer.from(rest.toString("latin1"), "base64") : rest;
    this.#listeners.get(channel)?.(bytes);
    const reader = this.#readers.get(channel);
    // A message without bytes would be the end to a reader.
    if (reader !== undefined && bytes.length > 0 && !reader.readableEnded && !reader.push(bytes)) {
      this.#full.add(reader);
      this.#flow();
    }
  }

  #send(frame: Buffer, channel: number, bytes: Buffer, done: () => void): void {
    // An error comes with "close", which ends the session.
    if (this.#options.base64) {
      this.#socket.send(`${channel}${bytes.toString("base64")}`, { binary: false }, () => done());
      return;
    }
    frame[0] = channel;
    bytes.copy(frame, 1);
    this.#socket.send(frame.subarray(0, bytes.length + 1), { binary: true }, () => done());
  }

  #release(reader: Readable): void {
    if (this.#full.delete(reader)) {
      this.#flow();
    }
  }

  /** Holds the client back while a reader is full. */
  #flow(): void {
    if (this.#full.size > 0 && this.#heartbeat === undefined) {
      this.#valve.pause();
      this.#heartbeat = setInterval(() => this.#socket.pong(), heartbeatMs);
      this.#heartbeat.unref();
    } else if (this.#full.size === 0 && this.#heartbeat !== undefined) {
      clearInterval(this.#heartbeat);
      this.#heartbeat = undefined;
      this.#valve.resume();
    }
  }

  #dispose(): void {
    this.#ended = true;
    clearInterval(this.#heartbeat);
    for (const stream of [...this.#readers.values(), ...this.#writers]) {
      stream.destroy();
    }
  }
}
