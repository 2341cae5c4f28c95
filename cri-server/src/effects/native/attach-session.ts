import { Readable, Writable } from "node:stream";
import type { AttachSession, SessionRequest } from "../../ports/monitor.ts";
import { Connection } from "./connection.ts";
import { type Frame, PayloadWriter } from "./frames.ts";
import { Op, StreamFlag } from "./ops.gen.ts";
import { connectIn } from "./sockets.ts";

const empty = Buffer.alloc(0);

/** A monitor refuses longer frames; so large a write is rare enough to be cut. */
const maxPiece = 1024 * 1024;

/** The container's stdin, as frames. An empty one is its end. */
class AttachInput extends Writable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    super();
    this.#connection = connection;
    connection.socket.on("close", () => this.destroy());
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    let room = true;
    for (let at = 0; at < chunk.length; at += maxPiece) {
      room = this.#connection.post(Op.STDIN, chunk.subarray(at, at + maxPiece));
    }
    if (room) done();
    else this.#connection.socket.once("drain", () => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#connection.post(Op.STDIN, empty);
    done();
  }
}

/**
 * One attached session over a connection of its own. Both outputs share it, so a reader who does not read one of them
 * holds the other back, too; the monitor drops a session that takes nothing for ten seconds.
 */
class NativeAttachSession implements AttachSession {
  readonly stdin: AttachInput | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  readonly ended: Promise<void>;
  readonly #connection: Connection;
  readonly #full = new Set<Readable>();

  constructor(connection: Connection, request: SessionRequest) {
    this.#connection = connection;
    this.stdin = request.stdin ? new AttachInput(connection) : undefined;
    this.stdout = request.stdout ? this.#output() : undefined;
    this.stderr = request.stderr && !request.tty ? this.#output() : undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    connection.onFrame((frame) => this.#take(frame));
    connection.onEnd(() => {
      this.stdout?.push(null);
      this.stderr?.push(null);
      resolve();
    });
  }

  #output(): Readable {
    const stream: Readable = new Readable({
      read: () => {
        this.#full.delete(stream);
        if (this.#full.size === 0) this.#connection.socket.resume();
      },
      // A closed output is read on into nothing, or the other one would stall.
      destroy: (error, done) => {
        this.#full.delete(stream);
        if (this.#full.size === 0) this.#connection.socket.resume();
        done(error);
      },
    });
    return stream;
  }

  #take(frame: Frame): void {
    if (frame.type === Op.ENDED) {
      this.#connection.close();
      return;
    }
    const stream =
      frame.type === Op.STDOUT ? this.stdout : frame.type === Op.STDERR ? this.stderr : undefined;
    if (stream === undefined || stream.destroyed) return;
    if (!stream.push(Buffer.from(frame.payload.rest()))) {
      this.#full.add(stream);
      this.#connection.socket.pause();
    }
  }

  resize(columns: number, rows: number): void {
    this.#connection.post(Op.RESIZE, new PayloadWriter().u32(columns).u32(rows).finish());
  }

  close(): void {
    this.#connection.close();
  }
}

export async function openAttach(
  podDir: string,
  containerId: string,
  request: SessionRequest,
): Promise<AttachSession> {
  const connection = Connection.over(connectIn(podDir, "monitor.sock"), "the monitor");
  const flags =
    (request.stdin ? StreamFlag.STDIN : 0) |
    (request.stdout ? StreamFlag.STDOUT : 0) |
    (request.stderr && !request.tty ? StreamFlag.STDERR : 0) |
    (request.tty ? StreamFlag.TTY : 0);
  const session = new NativeAttachSession(connection, request);
  try {
    await connection.request(Op.ATTACH, new PayloadWriter().id(containerId).u32(flags).finish(), {
      what: `attach to ${containerId}`,
    });
    return session;
  } catch (error) {
    connection.close();
    throw error;
  }
}
