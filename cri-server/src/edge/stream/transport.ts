import type { Socket } from "node:net";
import type { WebSocket } from "ws";

/** A two-way stream of bytes, below SPDY's framing. */
export interface ByteTransport {
  onData(listener: (bytes: Buffer) => void): void;
  /** Sends the parts as one. `done` is called when the next may follow without growing the queue. */
  write(parts: readonly Buffer[], done: () => void): void;
  /** Stops and starts the data events; what the peer sends meanwhile waits in the kernel. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes. */
  end(): void;
  destroy(): void;
  readonly closed: Promise<void>;
}

/** How long a peer may take to close after we have ended, before it is cut off. */
const lingerMs = 5000;

/** Waits for the socket to be closed by its peer too; cuts it off when it takes too long. */
function cutOffLater(closed: Promise<void>, destroy: () => void): void {
  const timer = setTimeout(destroy, lingerMs);
  timer.unref();
  void closed.then(() => clearTimeout(timer));
}

/** Bytes straight over an upgraded connection. `head` is what came with the upgrade request. */
export function socketTransport(socket: Socket, head: Buffer): ByteTransport {
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  let waiting: (() => void)[] = [];
  socket.on("drain", () => {
    const ready = waiting;
    waiting = [];
    for (const done of ready) {
      done();
    }
  });
  // "close" follows, and that is what counts.
  socket.on("error", () => {});
  // A Kubernetes client never half-closes the connection itself: its end means that it is gone.
  socket.on("end", () => socket.destroy());
  return {
    closed,
    onData(listener) {
      if (head.length > 0) {
        listener(head);
      }
      socket.on("data", listener);
    },
    write(parts, done) {
      socket.cork();
      for (const part of parts) {
        socket.write(part);
      }
      socket.uncork();
      if (socket.writableNeedDrain) {
        waiting.push(done);
      } else {
        done();
      }
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    end() {
      socket.end();
      cutOffLater(closed, () => socket.destroy());
    },
    destroy: () => void socket.destroy(),
  };
}

/** Bytes in binary messages of a WebSocket, as port-forward's tunnel has them (KEP-4006). */
export function webSocketTransport(socket: WebSocket): ByteTransport {
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("error", () => {});
  return {
    closed,
    onData(listener) {
      socket.on("message", (data: Buffer) => listener(data));
    },
    write(parts, done) {
      socket.send(parts.length === 1 ? (parts[0] ?? "") : Buffer.concat(parts), { binary: true }, done);
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end() {
      socket.close(1000);
      cutOffLater(closed, () => socket.terminate());
    },
    destroy: () => socket.terminate(),
  };
}
