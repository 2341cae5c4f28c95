import { BerthError } from "../../errors/berth-error.ts";
import type { ExecSyncOutcome, Monitor } from "../../ports/monitor.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry } from "../objects.ts";
import { prepareExec } from "./plan/prepare.ts";

type Deps = Pick<LifecycleDeps, "plan">;

/** CRI's limit for each stream of ExecSync; the rest is discarded. */
const maxBytes = 16 * 1024 * 1024;
/** The monitor's timer is 32 bits of milliseconds. */
const longestMs = 2 ** 31 - 1;

/** Runs a command in a running container and waits for it. A timeout of 0 seconds is none. */
export async function execSync(
  deps: Deps,
  entry: ContainerEntry,
  command: readonly string[],
  timeoutSeconds: bigint,
  signal: AbortSignal,
): Promise<ExecSyncOutcome> {
  const monitor = runningMonitor(entry);
  const plan = await prepareExec(deps.plan, entry.container, command, false);
  const timeoutMs = timeoutSeconds > 2_000_000n ? longestMs : Number(timeoutSeconds) * 1000;
  const outcome = await monitor.execSync(plan, timeoutMs, maxBytes, signal);
  if (outcome.timedOut) {
    throw new BerthError(
      "deadline-exceeded",
      `timeout ${timeoutSeconds}: the command ran for longer and was killed`,
    );
  }
  return outcome;
}

/** The monitor of a container that runs; else the error that says what it does instead. */
export function runningMonitor(entry: ContainerEntry): Monitor {
  const { id, status } = entry.container;
  const { monitor } = entry.pod;
  if (status.phase !== "running" || monitor === undefined) {
    throw new BerthError("wrong-state", `container_id ${id}: the container is ${status.phase}, not running`);
  }
  return monitor;
}
