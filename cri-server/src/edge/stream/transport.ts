import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import { TurnBudget } from "../../lib/turn-budget.ts";

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

/** Stops a source for two independent reasons: its reader is full, or it has had its share of this turn. */
export interface Valve {
  spend(bytes: number): void;
  pause(): void;
  resume(): void;
}

export function makeValve(source: { pause(): unknown; resume(): unknown }): Valve {
  let held = false;
  const go = (): void => {
    if (!held && !budget.resting) {
      source.resume();
    }
  };
  const budget = new TurnBudget(() => source.pause(), go);
  return {
    spend: (bytes) => budget.spend(bytes),
    pause() {
      held = true;
      source.pause();
    },
    resume() {
      held = false;
      go();
    },
  };
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
  const valve = makeValve(socket);
  return {
    closed,
    onData(listener) {
      if (head.length > 0) {
        listener(head);
      }
      socket.on("data", (bytes: Buffer) => {
        valve.spend(bytes.length);
        listener(bytes);
      });
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
    pause: valve.pause,
    resume: valve.resume,
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
  const valve = makeValve(socket);
  return {
    closed,
    onData(listener) {
      socket.on("message", (data: Buffer) => {
        valve.spend(data.length);
        listener(data);
      });
    },
    write(parts, done) {
      // The parts are fragments of one message, so that none is copied.
      for (const [index, part] of parts.entries()) {
        const fin = index === parts.length - 1;
        socket.send(part, { binary: true, fin }, fin ? () => done() : undefined);
      }
    },
    pause: valve.pause,
    resume: valve.resume,
    end() {
      socket.close(1000);
      cutOffLater(closed, () => socket.terminate());
    },
    destroy: () => socket.terminate(),
  };
}
