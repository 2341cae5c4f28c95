import type { IncomingMessage } from "node:http";
import type { OnReadOpts, Socket } from "node:net";

/** Gets the bytes of a body as they come, valid only until it returns; false holds the other side back. */
type Take = (bytes: Buffer) => boolean;

/** Sockets that read into `landing`. */
const direct = new WeakSet<Socket>();
const takers = new WeakMap<Socket, Take>();
/** One for all connections: whoever gets bytes has done with them when he returns. */
const landing = Buffer.allocUnsafeSlow(64 * 1024);

/**
 * An agent's option (`onread`, see net.Socket) for connections whose answers' bodies can be had without the HTTP parser. That makes
 * two buffers of each piece of a body, and the garbage collector, which is told of their size, stops the server for ten
 * milliseconds and more, ten times in a pull of 150 MB. Here nothing is allocated.
 */
export const readDirectly: OnReadOpts = {
  buffer: landing,
  callback(this: unknown, length: number): boolean {
    const socket = this as Socket;
    direct.add(socket);
    const bytes = landing.subarray(0, length);
    const take = takers.get(socket);
    if (take !== undefined) {
      return take(bytes);
    }
    // The parser keeps nothing of what it is given.
    socket.emit("data", bytes);
    return true;
  },
};

/**
 * From now on the body of this answer goes to `take`. Gives what the parser has got of it so far; undefined when that can't be:
 * the body has a framing of its own, or the connection is one through a TLS proxy. The connection is of no use to
 * anybody else afterwards and has to be destroyed. Not to be called within the "response" event, but any time later: the parser is
 * in the midst of what came with the head then.
 */
export function takeBody(answer: IncomingMessage, take: Take): Buffer | undefined {
  const { socket, headers } = answer;
  const isPlain = headers["content-length"] !== undefined && headers["transfer-encoding"] === undefined;
  if (!isPlain || !direct.has(socket)) {
    return undefined;
  }
  takers.set(socket, take);
  const early = (answer.read() as Buffer | null) ?? Buffer.alloc(0);
  // It may have been stopped because nobody read.
  socket.resume();
  return early;
}
