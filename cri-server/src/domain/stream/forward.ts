import type { Duplex, Readable, Writable } from "node:stream";
import type { PodDialer } from "../../ports/stream-targets.ts";
import { Copy } from "./copy.ts";

/** One forwarded connection, as the client has it. */
export interface ForwardedConnection {
  readonly port: number;
  readonly incoming: Readable;
  readonly outgoing: Writable;
  /** Resolves when the client has dropped this connection. */
  readonly closed: Promise<void>;
}

function closed(socket: Duplex): Promise<Error | undefined> {
  return new Promise((resolve) => {
    let failure: Error | undefined;
    socket.once("error", (error) => {
      failure = error;
    });
    socket.once("close", () => resolve(failure));
  });
}

/**
 * Carries one connection to a port of the pod, half-closing each direction on its own. Rejects when the port can't be
 * reached or the pod's side breaks.
 */
export async function forward(
  connection: ForwardedConnection,
  dialer: PodDialer,
  netnsPath: string,
): Promise<void> {
  const socket = await dialer.dial(netnsPath, connection.port);
  const ended = closed(socket);
  void connection.closed.then(() => socket.destroy());
  const { incoming, outgoing } = connection;
  new Copy(incoming, socket);
  incoming.once("end", () => socket.end());
  const back = new Copy(socket, outgoing);
  void back.done.then(() => outgoing.end());
  const failure = await ended;
  incoming.resume();
  if (failure !== undefined) {
    throw failure;
  }
}
