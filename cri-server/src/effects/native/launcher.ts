import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Socket } from "node:net";
import { BerthError } from "../../errors/berth-error.ts";
import type { ProcessIdentity } from "../../model/sandbox.ts";
import type { Monitor, MonitorHost, PodMonitorSpec, RunOutcome, RunRequest } from "../../ports/monitor.ts";
import { Connection } from "./connection.ts";
import { PayloadWriter } from "./frames.ts";
import { connectMonitor } from "./monitor-client.ts";
import { encodeMonitorSpec } from "./monitor-spec.ts";
import { Op } from "./ops.gen.ts";

export interface LauncherOptions {
  /** The program berth-native. */
  readonly program: string;
  /** Monitors kept ready, each with its namespaces. */
  readonly poolSize: number;
  /** The launcher has ended although close() was not called: the server can't go on without it. */
  readonly onLost: (reason: string) => void;
}

/**
 * The launcher process and what it does for the server. It is started once, by Node's own spawn, while the server is still
 * small: later a spawn would block the event loop for milliseconds.
 */
class Launcher implements MonitorHost {
  readonly #process: ChildProcess;
  readonly #connection: Connection;
  readonly #exited: Promise<unknown>;
  /** What each waits for: more than three removals at a time would only take the disk from each other. */
  readonly #lanes: Promise<void>[] = [Promise.resolve(), Promise.resolve(), Promise.resolve()];
  #removals = 0;
  #closing = false;

  constructor(process: ChildProcess, socket: Socket, onLost: (reason: string) => void) {
    this.#process = process;
    this.#connection = new Connection(socket, "the launcher");
    this.#exited = once(process, "exit");
    process.once("exit", (code, signal) => {
      if (!this.#closing) onLost(`the launcher ended with ${signal ?? code}`);
    });
  }

  async spawn(spec: PodMonitorSpec, signal?: AbortSignal): Promise<Monitor> {
    const answer = await this.#connection.request(Op.SPAWN_MONITOR, encodeMonitorSpec(spec), {
      what: `sandbox ${spec.sandboxId}`,
    });
    const process: ProcessIdentity = { pid: answer.u32(), startTime: answer.u64() };
    const monitor = await connectMonitor(spec.podDir, process);
    if (signal?.aborted) {
      // The monitor makes everything in one go, so a cancelled one is made and then taken down.
      await monitor.shutdown();
      throw new BerthError("cancelled", `sandbox ${spec.sandboxId}: cancelled`, { cause: signal.reason });
    }
    return monitor;
  }

  async reconnect(sandboxId: string, podDir: string, process: ProcessIdentity): Promise<Monitor> {
    try {
      return await connectMonitor(podDir, process);
    } catch (cause) {
      throw new BerthError("monitor-lost", `sandbox ${sandboxId}: its monitor does not answer`, { cause });
    }
  }

  async readImageFiles(
    layerDirs: readonly string[],
    paths: readonly string[],
    maxBytes: number,
  ): Promise<readonly (Buffer | undefined)[]> {
    const payload = new PayloadWriter().u32(maxBytes).texts(layerDirs.toReversed()).texts(paths).finish();
    const answer = await this.#connection.request(Op.READ_IMAGE_FILES, payload, {
      what: "files of an image",
      otherwise: "internal",
    });
    return paths.map(() => {
      const found = answer.u32() === 1;
      const bytes = answer.bytes();
      // A copy, for the original is a part of a frame that would be kept alive by it.
      return found ? Buffer.from(bytes) : undefined;
    });
  }

  async removeTrees(paths: readonly string[]): Promise<void> {
    if (paths.length === 0) return;
    const lane = this.#removals++ % this.#lanes.length;
    const removal = (this.#lanes[lane] ?? Promise.resolve()).then(() =>
      this.#connection.request(Op.REMOVE_TREES, new PayloadWriter().texts(paths).finish(), {
        what: "remove",
        otherwise: "internal",
      }),
    );
    // Whoever asked hears of a failure; the next one in the lane has its turn all the same.
    this.#lanes[lane] = removal.then(
      () => {},
      () => {},
    );
    await removal;
  }

  async run(request: RunRequest, signal?: AbortSignal): Promise<RunOutcome> {
    const environment = Object.entries(request.env).map(([key, value]) => `${key}=${value}`);
    const payload = new PayloadWriter()
      .u32(request.timeoutMs)
      .bytes(request.stdin)
      .text(request.path)
      .texts([request.path, ...request.args])
      .texts(environment)
      .text(request.cwd ?? "")
      .finish();
    const answer = await this.#connection.request(Op.RUN, payload, {
      what: `run ${request.path}`,
      otherwise: "internal",
      signal,
    });
    if (signal?.aborted) {
      throw new BerthError("cancelled", `run ${request.path}: cancelled`, { cause: signal.reason });
    }
    const exitCode = answer.u32();
    const timedOut = answer.u32() === 1;
    return { exitCode, timedOut, stdout: Buffer.from(answer.bytes()), stderr: Buffer.from(answer.bytes()) };
  }

  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#connection.close();
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.#exited;
  }
}

/** Starts the launcher. */
export async function startLauncher(options: LauncherOptions): Promise<MonitorHost> {
  const process = spawn(options.program, ["launcher", String(options.poolSize)], {
    stdio: ["ignore", "ignore", "inherit", "pipe"],
    // The server's environment is of no use to it, and is inherited by everything that it makes.
    env: {},
  });
  await once(process, "spawn");
  const socket = process.stdio[3];
  if (!(socket instanceof Socket)) throw new Error("the launcher has no socket");
  return new Launcher(process, socket, options.onLost);
}
