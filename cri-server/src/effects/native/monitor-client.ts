import { BerthError } from "../../errors/berth-error.ts";
import type { ExecPlan, LaunchPlan } from "../../model/plan.ts";
import type { ProcessIdentity } from "../../model/sandbox.ts";
import type {
  AttachSession,
  ExecSession,
  ExecSyncOutcome,
  ExitRecord,
  Monitor,
  MonitoredContainer,
  SessionRequest,
} from "../../ports/monitor.ts";
import { openAttach } from "./attach-session.ts";
import { Connection } from "./connection.ts";
import { encodeExecPlan, encodeLaunchPlan } from "./encode-plan.ts";
import { openExec } from "./exec-session.ts";
import { type Frame, type PayloadReader, PayloadWriter } from "./frames.ts";
import { ContainerState, Op } from "./ops.gen.ts";
import { connectIn } from "./sockets.ts";

const empty = Buffer.alloc(0);

function readExit(payload: PayloadReader): ExitRecord {
  const containerId = payload.text();
  const exitCode = payload.u32();
  const oomKilled = payload.u32() === 1;
  return { containerId, exitCode, oomKilled, startedAt: payload.u64(), finishedAt: payload.u64() };
}

function readContainer(payload: PayloadReader): MonitoredContainer {
  const containerId = payload.text();
  const number = payload.u32();
  const process: ProcessIdentity = { pid: payload.u32(), startTime: payload.u64() };
  const startedAt = payload.u64();
  const finishedAt = payload.u64();
  const exitCode = payload.u32();
  const oomKilled = payload.u32() === 1;
  if (number !== ContainerState.EXITED) {
    const state = number === ContainerState.CREATED ? "created" : "running";
    return { containerId, state, process, startedAt, exit: undefined };
  }
  const exit = { containerId, exitCode, oomKilled, startedAt, finishedAt };
  return { containerId, state: "exited", process, startedAt, exit };
}

class MonitorClient implements Monitor {
  readonly process: ProcessIdentity;
  readonly #podDir: string;
  readonly #connection: Connection;
  readonly #gone: Promise<void>;
  readonly #exitListeners: ((exit: ExitRecord) => void)[] = [];
  readonly #lostListeners: (() => void)[] = [];
  /** shutdown() or disconnect() was called: the end of the connection is no loss. */
  #expected = false;
  #lost = false;

  constructor(podDir: string, process: ProcessIdentity, connection: Connection) {
    this.process = process;
    this.#podDir = podDir;
    this.#connection = connection;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gone = promise;
    connection.onFrame((frame) => this.#take(frame));
    connection.onEnd(() => {
      resolve();
      if (this.#expected) return;
      this.#lost = true;
      for (const listener of this.#lostListeners) listener();
    });
  }

  async create(plan: LaunchPlan, signal?: AbortSignal): Promise<ProcessIdentity> {
    const program = plan.cgroup.deviceProgramFd;
    try {
      const answer = await this.#connection.request(Op.CREATE, encodeLaunchPlan(plan), {
        what: `create ${plan.containerId}`,
        fds: program === undefined ? [] : [program],
        signal,
      });
      return { pid: answer.u32(), startTime: answer.u64() };
    } catch (cause) {
      if (!signal?.aborted) throw cause;
      throw new BerthError("cancelled", `create ${plan.containerId}: cancelled`, { cause });
    }
  }

  async start(containerId: string): Promise<{ readonly startedAt: bigint }> {
    const answer = await this.#connection.request(Op.START, named(containerId), {
      what: `start ${containerId}`,
      otherwise: "start-failed",
    });
    return { startedAt: answer.u64() };
  }

  async kill(containerId: string, signal: number, all: boolean): Promise<void> {
    const payload = new PayloadWriter()
      .id(containerId)
      .u32(signal)
      .u32(all ? 1 : 0);
    await this.#connection.request(Op.KILL, payload.finish(), {
      what: `signal ${signal} to ${containerId}`,
      otherwise: "internal",
    });
  }

  async execSync(
    plan: ExecPlan,
    timeoutMs: number,
    maxBytes: number,
    signal?: AbortSignal,
  ): Promise<ExecSyncOutcome> {
    const what = `exec in ${plan.containerId}`;
    const payload = new PayloadWriter().u32(timeoutMs).u32(maxBytes).rest(encodeExecPlan(plan)).finish();
    const answer = await this.#connection.request(Op.EXEC_SYNC, payload, {
      what,
      otherwise: "exec-failed",
      signal,
    });
    if (signal?.aborted) throw new BerthError("cancelled", `${what}: cancelled`, { cause: signal.reason });
    const exitCode = answer.u32();
    const timedOut = answer.u32() === 1;
    return { exitCode, timedOut, stdout: answer.bytes(), stderr: answer.bytes() };
  }

  async exec(plan: ExecPlan, request: SessionRequest): Promise<ExecSession> {
    return this.#session(`exec in ${plan.containerId}`, () => openExec(this.#podDir, plan, request));
  }

  async attach(containerId: string, request: SessionRequest): Promise<AttachSession> {
    return this.#session(`attach to ${containerId}`, () => openAttach(this.#podDir, containerId, request));
  }

  async #session<T>(what: string, open: () => Promise<T>): Promise<T> {
    try {
      return await open();
    } catch (cause) {
      if (cause instanceof BerthError) throw cause;
      throw new BerthError("monitor-lost", `${what}: the monitor does not answer`, { cause });
    }
  }

  async reopenLog(containerId: string): Promise<void> {
    await this.#connection.request(Op.REOPEN_LOG, named(containerId), {
      what: `reopen the log of ${containerId}`,
      otherwise: "internal",
    });
  }

  async list(): Promise<readonly MonitoredContainer[]> {
    const answer = await this.#connection.request(Op.LIST, empty, { what: "list", otherwise: "internal" });
    return Array.from({ length: answer.u32() }, () => readContainer(answer));
  }

  async remove(containerId: string): Promise<void> {
    await this.#connection.request(Op.REMOVE, named(containerId), {
      what: `remove ${containerId}`,
      otherwise: "internal",
    });
  }

  async shutdown(): Promise<void> {
    this.#expected = true;
    try {
      await this.#connection.request(Op.SHUTDOWN, empty, { what: "shut down", otherwise: "internal" });
    } catch (error) {
      // Gone is what was asked for.
      if (!(error instanceof BerthError) || error.code !== "monitor-lost") throw error;
    }
    await this.#gone;
  }

  onExit(listener: (exit: ExitRecord) => void): void {
    this.#exitListeners.push(listener);
  }

  onLost(listener: () => void): void {
    this.#lostListeners.push(listener);
    if (this.#lost) queueMicrotask(listener);
  }

  disconnect(): void {
    this.#expected = true;
    this.#connection.close();
  }

  #take(frame: Frame): void {
    if (frame.type !== Op.EXITED) return;
    const exit = readExit(frame.payload);
    // An answer that came with the same chunk goes first: whoever awaits start() hears of the start before the exit.
    setImmediate(() => {
      for (const listener of this.#exitListeners) listener(exit);
    });
  }
}

function named(containerId: string): Buffer {
  return new PayloadWriter().id(containerId).finish();
}

/** Connects to the monitor whose socket is in podDir. Rejects when nobody answers there. */
export async function connectMonitor(podDir: string, process: ProcessIdentity): Promise<Monitor> {
  const connection = Connection.over(connectIn(podDir, "monitor.sock"), `monitor ${process.pid}`);
  return new MonitorClient(podDir, process, connection);
}
