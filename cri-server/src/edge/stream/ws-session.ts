import { Readable, Writable } from "node:stream";
import { finished } from "node:stream/promises";
import type { WebSocket } from "ws";
import type { ClientSession, SessionOutcome } from "../../domain/stream/session.ts";
import type { SessionRequest } from "../../ports/monitor.ts";
import { makeSizeReader } from "./resize.ts";
import { plainStatus, statusJson } from "./status.ts";
import { makeValve, type Valve, webSocketTransport } from "./transport.ts";

/** Sub-protocols of exec and attach over WebSocket, best first. */
export const webSocketProtocols = ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"] as const;
export type WebSocketProtocol = (typeof webSocketProtocols)[number];

/** The first byte of a message says what it is for. */
const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

const inboundBytes = 256 * 1024;
const outboundBytes = 128 * 1024;
/** While its messages are held back a client gets no answer to its pings, and gives up after a minute (client-go). */
const heartbeatMs = 2000;

/** One exec or attach session over WebSocket. */
export class WebSocketSession implements ClientSession {
  readonly stdin: NodeJS.ReadableStream | undefined;
  readonly stdout: NodeJS.WritableStream | undefined;
  readonly stderr: NodeJS.WritableStream | undefined;
  readonly closed: Promise<void>;
  readonly #socket: WebSocket;
  readonly #protocol: WebSocketProtocol;
  readonly #onActivity: () => void;
  readonly #input: Readable | undefined;
  readonly #outputs: readonly Writable[];
  /** A client tells its size at once; the process may take a moment to start. */
  #size: readonly [columns: number, rows: number] | undefined;
  #onSize: (columns: number, rows: number) => void = () => {};
  readonly #readSize = makeSizeReader((columns, rows) => {
    this.#size = [columns, rows];
    this.#onSize(columns, rows);
  });
  readonly #valve: Valve;
  #heartbeat: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(
    socket: WebSocket,
    request: SessionRequest,
    protocol: WebSocketProtocol,
    onActivity: () => void,
  ) {
    this.#socket = socket;
    this.#valve = makeValve(socket);
    this.#protocol = protocol;
    this.#onActivity = onActivity;
    this.#input = request.stdin ? this.#reader() : undefined;
    const stdout = request.stdout ? this.#writer(channel.stdout) : undefined;
    const stderr = request.stderr ? this.#writer(channel.stderr) : undefined;
    this.stdin = this.#input;
    this.stdout = stdout;
    this.stderr = stderr;
    this.#outputs = [stdout, stderr].filter((stream) => stream !== undefined);
    this.closed = webSocketTransport(socket).closed;
    void this.closed.then(() => this.#dispose());
    socket.on("message", (data: Buffer) => this.#receive(data));
    // Older clients wait for a first, empty message (cri-streaming, remotecommand/websocket.go).
    const first = request.stdout ? channel.stdout : request.stderr ? channel.stderr : channel.error;
    socket.send(Buffer.of(first));
  }

  onResize(listener: (columns: number, rows: number) => void): void {
    this.#onSize = listener;
    if (this.#size !== undefined) {
      listener(...this.#size);
    }
  }

  async finish(outcome: SessionOutcome): Promise<void> {
    for (const output of this.#outputs) {
      output.end();
      await Promise.race([finished(output).catch(() => undefined), this.closed]);
    }
    const text = this.#protocol === "channel.k8s.io" ? plainStatus(outcome) : statusJson(outcome);
    if (text !== "") {
      const bytes = Buffer.from(text);
      this.#send(Buffer.alloc(bytes.length + 1), channel.error, bytes, () => {});
    }
    this.#release();
    this.#ended = true;
    webSocketTransport(this.#socket).end();
    await this.closed;
  }

  #receive(message: Buffer): void {
    this.#onActivity();
    this.#valve.spend(message.length);
    switch (message[0]) {
      case channel.stdin:
        if (message.length > 1 && this.#input?.push(message.subarray(1)) === false) {
          this.#hold();
        }
        return;
      case channel.resize:
        this.#readSize(message.subarray(1));
        return;
      case channel.close:
        // v5 only: the client's end of one of its streams.
        if (this.#protocol === "v5.channel.k8s.io" && message[1] === channel.stdin) {
          this.#input?.push(null);
        }
        return;
      default:
        return;
    }
  }

  #reader(): Readable {
    return new Readable({ highWaterMark: inboundBytes, read: () => this.#release() });
  }

  #writer(id: number): Writable {
    // Used again and again: the next write waits until the kernel has taken this one.
    let message = Buffer.alloc(0);
    return new Writable({
      highWaterMark: outboundBytes,
      write: (chunk: Buffer, _encoding, callback) => {
        this.#onActivity();
        if (message.length < chunk.length + 1) {
          message = Buffer.allocUnsafeSlow(chunk.length + 1);
        }
        this.#send(message, id, chunk, callback);
      },
    });
  }

  #send(message: Buffer, id: number, bytes: Buffer, done: () => void): void {
    message[0] = id;
    bytes.copy(message, 1);
    // An error comes with "close", which ends the session.
    this.#socket.send(message.subarray(0, bytes.length + 1), { binary: true }, () => done());
  }

  #hold(): void {
    if (this.#heartbeat === undefined && !this.#ended) {
      this.#valve.pause();
      this.#heartbeat = setInterval(() => this.#socket.pong(), heartbeatMs);
      this.#heartbeat.unref();
    }
  }

  #release(): void {
    if (this.#heartbeat !== undefined) {
      clearInterval(this.#heartbeat);
      this.#heartbeat = undefined;
      this.#valve.resume();
    }
  }

  #dispose(): void {
    this.#ended = true;
    clearInterval(this.#heartbeat);
    this.#input?.destroy();
    for (const output of this.#outputs) {
      output.destroy();
    }
  }
}
