import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { BerthError } from "../../errors/berth-error.ts";
import type { ExecPlan } from "../../model/plan.ts";
import type { ExecSession, SessionRequest } from "../../ports/monitor.ts";
import { Connection } from "./connection.ts";
import { encodeExecPlan } from "./encode-plan.ts";
import { PayloadWriter } from "./frames.ts";
import { Op, StreamFlag } from "./ops.gen.ts";
import { connectIn, makePipe } from "./sockets.ts";

const empty = Buffer.alloc(0);

/** The first request of a connection has this id; here it is the only one. */
const execRequest = 1;

interface Ends {
  readonly stdin: Socket | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  readonly theirs: readonly number[];
}

function socketOver(fd: number, direction: "read" | "write"): Socket {
  const socket = new Socket({ fd, readable: direction === "read", writable: direction === "write" });
  // A process that ends closes its pipes: whoever writes then sees it by 'close', and nobody has to listen for 'error'.
  socket.on("error", () => socket.destroy());
  return socket;
}

function makeEnds(request: SessionRequest): Ends {
  const theirs: number[] = [];
  const make = (wanted: boolean, direction: "read" | "write"): Socket | undefined => {
    if (!wanted) return undefined;
    const pipe = makePipe(direction);
    theirs.push(pipe.theirs);
    return socketOver(pipe.ours, direction);
  };
  const stdin = make(request.stdin, "write");
  // A terminal's output has to go somewhere even when nobody asked for it.
  const stdout = make(request.stdout || request.tty, "read");
  const stderr = make(request.stderr && !request.tty, "read");
  if (!request.stdout) stdout?.resume();
  return { stdin, stdout, stderr, theirs };
}

/**
 * One streaming exec over a connection of its own, which the monitor takes for the session's life: when it closes, the
 * process is killed. Output comes through pipes that the process itself writes to, past the monitor.
 */
class NativeExecSession implements ExecSession {
  readonly stdin: Socket | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  readonly exit: Promise<number>;
  readonly #connection: Connection;
  #exited = false;

  constructor(connection: Connection, ends: Ends, request: SessionRequest) {
    this.stdin = ends.stdin;
    this.stdout = request.stdout ? ends.stdout : undefined;
    this.stderr = ends.stderr;
    this.#connection = connection;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.exit = promise;
    // Whoever never asks for the exit code must not be told by an unhandled rejection.
    promise.catch(() => {});
    connection.onFrame((frame) => {
      if (frame.type !== Op.EXITED) return;
      this.#exited = true;
      resolve(frame.payload.u32());
      ends.stdin?.destroy();
      // The monitor still copies what a terminal has said last.
      if (request.tty && ends.stdout !== undefined && !ends.stdout.closed) {
        ends.stdout.once("close", () => connection.close());
      } else connection.close();
    });
    connection.onEnd(() => {
      if (this.#exited) return;
      reject(new BerthError("monitor-lost", "exec: the connection to the monitor has ended"));
      for (const stream of [ends.stdin, ends.stdout, ends.stderr]) stream?.destroy();
    });
  }

  resize(columns: number, rows: number): void {
    this.#connection.post(Op.RESIZE, new PayloadWriter().u32(columns).u32(rows).finish());
  }

  kill(): void {
    if (!this.#exited) this.#connection.post(Op.CANCEL, empty, execRequest);
  }
}

export async function openExec(
  podDir: string,
  plan: ExecPlan,
  request: SessionRequest,
): Promise<ExecSession> {
  const connection = Connection.over(connectIn(podDir, "monitor.sock"), "the monitor");
  const flags =
    (request.stdin ? StreamFlag.STDIN : 0) |
    (request.stdout || request.tty ? StreamFlag.STDOUT : 0) |
    (request.stderr && !request.tty ? StreamFlag.STDERR : 0) |
    (request.tty ? StreamFlag.TTY : 0);
  let ends: Ends | undefined;
  try {
    ends = makeEnds(request);
    const session = new NativeExecSession(connection, ends, request);
    const payload = new PayloadWriter().u32(flags).rest(encodeExecPlan(plan)).finish();
    await connection.request(Op.EXEC, payload, {
      what: `exec in ${plan.containerId}`,
      otherwise: "exec-failed",
      fds: ends.theirs,
    });
    return session;
  } catch (error) {
    connection.close();
    for (const stream of [ends?.stdin, ends?.stdout, ends?.stderr]) stream?.destroy();
    throw error;
  } finally {
    for (const fd of ends?.theirs ?? []) closeSync(fd);
  }
}
