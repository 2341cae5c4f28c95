import { finished } from "node:stream/promises";
import { forward } from "../../domain/stream/forward.ts";
import type { Logger } from "../../ports/logger.ts";
import type { PodDialer } from "../../ports/stream-targets.ts";
import { SpdyConnection } from "./spdy-connection.ts";
import type { SpdyStream } from "./spdy-stream.ts";
import type { ByteTransport } from "./transport.ts";

/** The one sub-protocol of port forwarding, and its name when SPDY is carried in WebSocket messages. */
export const portForwardProtocol = "portforward.k8s.io";
export const portForwardTunnel = `SPDY/3.1+${portForwardProtocol}`;

const creationMs = 30_000;

interface Pair {
  data: SpdyStream | undefined;
  error: SpdyStream | undefined;
  readonly timer: NodeJS.Timeout;
}

export interface PortForwardDeps {
  readonly dialer: PodDialer;
  readonly netnsPath: string;
  readonly log: Logger;
}

/** Streams belong together by `requestID`; clients older than that open error first and data right after it. */
function requestIdOf(stream: SpdyStream): string {
  const id = stream.headers.get("requestid");
  if (id !== undefined && id !== "") {
    return id;
  }
  return `#${stream.headers.get("streamtype") === "data" ? stream.id - 2 : stream.id}`;
}

function portOf(stream: SpdyStream): number | undefined {
  const text = stream.headers.get("port") ?? "";
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : undefined;
}

async function carry(
  data: SpdyStream,
  error: SpdyStream,
  port: number,
  deps: PortForwardDeps,
): Promise<void> {
  // The client never says anything on it.
  error.incoming.resume();
  try {
    const { incoming, outgoing, closed } = data;
    await forward({ port, incoming, outgoing, closed }, deps.dialer, deps.netnsPath);
    error.outgoing.end();
  } catch (cause) {
    deps.log.info({ err: cause, port }, "port-forward connection failed");
    const reason = cause instanceof Error ? cause.message : String(cause);
    error.outgoing.end(Buffer.from(`error forwarding port ${port}: ${reason}`));
    await finished(error.outgoing).catch(() => undefined);
    data.reset(true);
  }
}

/** Serves one port-forward client until it closes its connection. */
export async function servePortForward(
  transport: ByteTransport,
  deps: PortForwardDeps,
  onActivity: () => void,
): Promise<void> {
  const pairs = new Map<string, Pair>();
  const drop = (id: string, pair: Pair): void => {
    clearTimeout(pair.timer);
    pairs.delete(id);
  };
  const open = (id: string): Pair => {
    const timer = setTimeout(() => {
      const pair = pairs.get(id);
      pairs.delete(id);
      pair?.data?.reset(true);
      pair?.error?.reset(true);
    }, creationMs);
    const pair: Pair = { data: undefined, error: undefined, timer };
    pairs.set(id, pair);
    return pair;
  };
  const accept = (stream: SpdyStream): void => {
    const type = stream.headers.get("streamtype");
    const port = portOf(stream);
    const id = requestIdOf(stream);
    if (port === undefined || (type !== "data" && type !== "error") || pairs.get(id)?.[type] !== undefined) {
      stream.reset(true);
      return;
    }
    const pair = pairs.get(id) ?? open(id);
    pair[type] = stream;
    // A stream that goes before its other half comes takes the pair along, or a client could pile up any number of them.
    void stream.closed.then(() => {
      if (pairs.get(id) === pair) {
        drop(id, pair);
        pair.data?.reset(true);
        pair.error?.reset(true);
      }
    });
    if (pair.data !== undefined && pair.error !== undefined) {
      drop(id, pair);
      void carry(pair.data, pair.error, portOf(pair.data) ?? port, deps);
    }
  };
  const connection = new SpdyConnection(transport, accept, onActivity);
  await connection.closed;
  for (const [id, pair] of pairs) {
    drop(id, pair);
  }
}
