import { finished } from "node:stream/promises";
import type { ClientSession, SessionOutcome } from "../../domain/stream/session.ts";
import type { SessionRequest } from "../../ports/monitor.ts";
import { makeSizeReader } from "./resize.ts";
import { SpdyConnection } from "./spdy-connection.ts";
import type { SpdyStream } from "./spdy-stream.ts";
import { plainStatus, statusJson } from "./status.ts";
import type { ByteTransport } from "./transport.ts";

/** Sub-protocols of exec and attach, best first. */
export const remoteCommandProtocols = [
  "v4.channel.k8s.io",
  "v3.channel.k8s.io",
  "v2.channel.k8s.io",
  "channel.k8s.io",
] as const;
export type RemoteCommandProtocol = (typeof remoteCommandProtocols)[number];

/** How long a client may take to open the streams that it has asked for (cri-streaming's own default). */
const creationMs = 30_000;

type StreamType = "error" | "stdin" | "stdout" | "stderr" | "resize";

function expectedTypes(request: SessionRequest, protocol: RemoteCommandProtocol): readonly StreamType[] {
  const resizable = protocol === "v4.channel.k8s.io" || protocol === "v3.channel.k8s.io";
  return [
    "error",
    ...(request.stdin ? (["stdin"] as const) : []),
    ...(request.stdout ? (["stdout"] as const) : []),
    ...(request.stderr ? (["stderr"] as const) : []),
    ...(request.tty && resizable ? (["resize"] as const) : []),
  ];
}

/** Ends a stream and waits until its end has been sent, or it is gone. */
async function endStream(stream: SpdyStream, last?: string): Promise<void> {
  stream.outgoing.end(last === undefined || last === "" ? undefined : Buffer.from(last));
  await finished(stream.outgoing, { readable: false }).catch(() => undefined);
}

/** One exec or attach session over SPDY. */
class SpdySession implements ClientSession {
  readonly #connection: SpdyConnection;
  readonly #streams: ReadonlyMap<string, SpdyStream>;
  readonly #protocol: RemoteCommandProtocol;

  constructor(
    connection: SpdyConnection,
    streams: ReadonlyMap<string, SpdyStream>,
    protocol: RemoteCommandProtocol,
  ) {
    this.#connection = connection;
    this.#streams = streams;
    this.#protocol = protocol;
  }

  get stdin(): NodeJS.ReadableStream | undefined {
    return this.#streams.get("stdin")?.incoming;
  }
  get stdout(): NodeJS.WritableStream | undefined {
    return this.#streams.get("stdout")?.outgoing;
  }
  get stderr(): NodeJS.WritableStream | undefined {
    return this.#streams.get("stderr")?.outgoing;
  }
  get closed(): Promise<void> {
    return this.#connection.closed;
  }

  onResize(listener: (columns: number, rows: number) => void): void {
    this.#streams.get("resize")?.incoming.on("data", makeSizeReader(listener));
  }

  async finish(outcome: SessionOutcome): Promise<void> {
    const left = this.#connection.closed;
    for (const type of ["stdout", "stderr"]) {
      const stream = this.#streams.get(type);
      if (stream !== undefined) {
        await Promise.race([endStream(stream), left]);
      }
    }
    const error = this.#streams.get("error");
    if (error !== undefined) {
      const text = this.#protocol === "v4.channel.k8s.io" ? statusJson(outcome) : plainStatus(outcome);
      await Promise.race([endStream(error, text), left]);
    }
    await this.#connection.close();
  }
}

/** Waits for the client's streams. Undefined when it doesn't open them in time; the connection is closed then. */
export async function acceptSpdySession(
  transport: ByteTransport,
  request: SessionRequest,
  protocol: RemoteCommandProtocol,
  onActivity: () => void,
): Promise<ClientSession | undefined> {
  const expected = expectedTypes(request, protocol);
  const streams = new Map<string, SpdyStream>();
  const complete = Promise.withResolvers<boolean>();
  const connection = new SpdyConnection(
    transport,
    (stream) => {
      const type = stream.headers.get("streamtype") ?? "";
      if (!expected.some((wanted) => wanted === type) || streams.has(type)) {
        stream.reset(true);
        return;
      }
      streams.set(type, stream);
      if (streams.size === expected.length) {
        complete.resolve(true);
      }
    },
    onActivity,
  );
  const timer = setTimeout(() => complete.resolve(false), creationMs);
  const opened = await Promise.race([complete.promise, connection.closed.then(() => false)]);
  clearTimeout(timer);
  if (!opened) {
    connection.destroy();
    return undefined;
  }
  return new SpdySession(connection, streams, protocol);
}
