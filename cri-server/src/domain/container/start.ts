import { BerthError } from "../../errors/berth-error.ts";
import { Steps } from "../../lib/steps.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry } from "../objects.ts";
import { recordExit, saveLater } from "./exit.ts";
import { nextContainerStatus } from "./transition.ts";

type Deps = Pick<
  LifecycleDeps,
  "store" | "events" | "log" | "clock" | "failpoint" | "cgroups" | "background" | "storage" | "telemetry"
>;

/** Exit code of a container whose command could not be executed, as the other runtimes have it. */
const startErrorCode = 128;

/**
 * Lets a created container run. A failure leaves it exited with reason StartError: the kubelet's back-off counts only
 * exited ones. The caller holds the pod's lock.
 */
export async function startContainer(deps: Deps, entry: ContainerEntry): Promise<void> {
  const { status, id } = entry.container;
  const { monitor, sandbox } = entry.pod;
  if (status.phase !== "created") {
    throw new BerthError("wrong-state", `container_id ${id}: the container is ${status.phase}, not created`);
  }
  if (sandbox.status.phase !== "ready" || monitor === undefined) {
    throw new BerthError("wrong-state", `container_id ${id}: its pod sandbox is ${sandbox.status.phase}`);
  }
  entry.isStarting = true;
  try {
    await deps.failpoint("container.start.monitor");
    const steps = new Steps();
    const { startedAt } = await monitor.start(id);
    steps.mark("start");
    entry.steps = { ...entry.steps, ...steps.spent };
    deps.telemetry?.stepsTaken("container", steps.spent);
    await deps.failpoint("container.start.record");
    markStarted(deps, entry, startedAt);
  } catch (error) {
    await failStart(deps, entry, error);
    throw error;
  } finally {
    entry.isStarting = false;
  }
}

/** A process that ended at once may have been reported before its start was. */
function markStarted(deps: Deps, entry: ContainerEntry, startedAt: bigint): void {
  if (entry.container.status.phase === "created") {
    entry.container = {
      ...entry.container,
      status: nextContainerStatus(entry.container.status, { kind: "started", startedAt }),
    };
    // Not awaited: the monitor knows that it runs, and is asked after a restart.
    saveLater(deps, entry);
  }
  deps.events.publish("started", entry.container.id, entry.pod);
}

async function failStart(deps: Deps, entry: ContainerEntry, error: unknown): Promise<void> {
  const { id } = entry.container;
  try {
    await entry.pod.monitor?.kill(id, 9, true);
  } catch (killError) {
    deps.log.debug({ err: killError, container: id }, "nothing to kill after a failed start");
  }
  const now = deps.clock.now();
  recordExit(
    deps,
    entry,
    { containerId: id, exitCode: startErrorCode, oomKilled: false, startedAt: 0n, finishedAt: now },
    { reason: "StartError", message: messageOf(error) },
  );
}

function messageOf(error: unknown): string {
  return error instanceof BerthError ? error.message : "an internal error; the server's log has it";
}
