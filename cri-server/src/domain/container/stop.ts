import { BerthError } from "../../errors/berth-error.ts";
import { orAborted } from "../../lib/keyed-mutex.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry } from "../objects.ts";

/** One container's stop, shared by all who asked for it. */
export interface StopInProgress {
  /** performance.now() when SIGKILL is due. */
  killAt: number;
  timer: NodeJS.Timeout | undefined;
  signalSent: boolean;
}

type Deps = Pick<LifecycleDeps, "log">;

const sigkill = 9;
/** setTimeout's longest wait; nobody asks for more than 24 days. */
const longestMs = 2 ** 31 - 1;

/**
 * Stops a container: its stop signal, the grace period, SIGKILL. Resolves when the exit is recorded. Several at once share
 * one stop: the signal is sent once, and the shortest period counts. Success when it has ended already.
 */
export async function stopContainer(
  deps: Deps,
  entry: ContainerEntry,
  timeoutSeconds: bigint,
  signal?: AbortSignal,
): Promise<void> {
  const { phase } = entry.container.status;
  if (phase !== "running" && phase !== "created") {
    return;
  }
  const graceMs = timeoutSeconds > 2_000_000n ? longestMs : Number(timeoutSeconds) * 1000;
  // A created process waits for its exec and would not understand a signal.
  if (graceMs === 0 || phase === "created") {
    await killNow(entry);
  } else {
    await beginStop(deps, entry, graceMs);
  }
  await orAborted(entry.exited.promise, signal);
}

async function beginStop(deps: Deps, entry: ContainerEntry, graceMs: number): Promise<void> {
  const killAt = performance.now() + graceMs;
  entry.stop ??= { killAt: Infinity, timer: undefined, signalSent: false };
  const stop = entry.stop;
  if (killAt < stop.killAt) {
    stop.killAt = killAt;
    clearTimeout(stop.timer);
    stop.timer = setTimeout(() => {
      killNow(entry).catch((error: unknown) => {
        deps.log.error(
          { err: error, container: entry.container.id },
          "SIGKILL after the grace period failed",
        );
      });
    }, graceMs);
  }
  if (!stop.signalSent) {
    stop.signalSent = true;
    await send(entry, entry.container.stopSignal, false);
  }
}

/** SIGKILL, to every process of the container when it has no PID namespace that would take them along. */
export async function killNow(entry: ContainerEntry): Promise<void> {
  await send(entry, sigkill, entry.container.config.security.namespaces.pid !== "CONTAINER");
}

async function send(entry: ContainerEntry, number: number, all: boolean): Promise<void> {
  const { monitor } = entry.pod;
  if (monitor === undefined) {
    throw new BerthError("monitor-lost", `the monitor of container ${entry.container.id} is gone`);
  }
  try {
    await monitor.kill(entry.container.id, number, all);
  } catch (error) {
    // It may have ended just before the signal: then there is nothing to complain about. The monitor knows it (wrong-state)
    // before the exit is recorded here.
    const hasEnded = error instanceof BerthError && error.code === "wrong-state";
    if (!hasEnded && ["running", "created"].includes(entry.container.status.phase)) {
      throw error;
    }
  }
}
