import type { WebSocket } from "ws";
import type { ClientSession, SessionOutcome } from "../../domain/stream/session.ts";
import type { SessionRequest } from "../../ports/monitor.ts";
import { makeSizeReader } from "./resize.ts";
import { plainStatus, statusJson } from "./status.ts";
import { WebSocketChannels } from "./ws-channels.ts";

/** Sub-protocols of exec and attach over WebSocket, best first. */
export const webSocketProtocols = [
  "v5.channel.k8s.io",
  "v4.channel.k8s.io",
  "v4.base64.channel.k8s.io",
  "channel.k8s.io",
  "base64.channel.k8s.io",
] as const;
export type WebSocketProtocol = (typeof webSocketProtocols)[number];

const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;

/** One exec or attach session over WebSocket. */
export class WebSocketSession implements ClientSession {
  readonly stdin: NodeJS.ReadableStream | undefined;
  readonly stdout: NodeJS.WritableStream | undefined;
  readonly stderr: NodeJS.WritableStream | undefined;
  readonly closed: Promise<void>;
  readonly #channels: WebSocketChannels;
  readonly #protocol: WebSocketProtocol;
  /** A client tells its size at once; the process may take a moment to start. */
  #size: readonly [columns: number, rows: number] | undefined;
  #onSize: (columns: number, rows: number) => void = () => {};

  constructor(
    socket: WebSocket,
    request: SessionRequest,
    protocol: WebSocketProtocol,
    onActivity: () => void,
  ) {
    const base64 = protocol.includes("base64");
    const closeSignal = protocol === "v5.channel.k8s.io";
    const channels = new WebSocketChannels(socket, { base64, closeSignal, onActivity });
    this.#channels = channels;
    this.#protocol = protocol;
    this.stdin = request.stdin ? channels.reader(channel.stdin) : undefined;
    this.stdout = request.stdout ? channels.writer(channel.stdout) : undefined;
    this.stderr = request.stderr ? channels.writer(channel.stderr) : undefined;
    this.closed = channels.closed;
    const readSize = makeSizeReader((columns, rows) => {
      this.#size = [columns, rows];
      this.#onSize(columns, rows);
    });
    channels.onMessage(channel.resize, readSize);
    // Older clients wait for a first, empty message (cri-streaming, remotecommand/websocket.go).
    const first = request.stdout ? channel.stdout : request.stderr ? channel.stderr : channel.error;
    channels.send(first, Buffer.alloc(0));
  }

  onResize(listener: (columns: number, rows: number) => void): void {
    this.#onSize = listener;
    if (this.#size !== undefined) {
      listener(...this.#size);
    }
  }

  async finish(outcome: SessionOutcome): Promise<void> {
    const isPlain = this.#protocol === "channel.k8s.io" || this.#protocol === "base64.channel.k8s.io";
    const text = isPlain ? plainStatus(outcome) : statusJson(outcome);
    await this.#channels.finish({ channel: channel.error, bytes: Buffer.from(text) });
  }
}
