import type { Socket } from "node:net";

/** A client sends its request at once, so hardly any are here at a time. */
const most = 256;

/**
 * Connections that have not shown a token yet. Whoever reaches the address can open them, a pod on the host's network too, and
 * each takes a descriptor of the server's: when there are too many, the oldest one goes, which is never one that has just come
 * with a request.
 */
export class WaitingRoom {
  readonly #sockets = new Map<string, Socket>();

  enter(socket: Socket): void {
    const name = nameOf(socket);
    this.#sockets.set(name, socket);
    socket.once("close", () => {
      if (this.#sockets.get(name) === socket) {
        this.#sockets.delete(name);
      }
    });
    for (const [oldest, other] of this.#sockets) {
      if (this.#sockets.size <= most) {
        return;
      }
      this.#sockets.delete(oldest);
      other.destroy();
    }
  }

  /** It has shown a token. With TLS this is another object than the one that came in, so the address names it. */
  leave(socket: Socket): void {
    this.#sockets.delete(nameOf(socket));
  }
}

function nameOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
