import type { ExitRecord } from "../../ports/monitor.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry } from "../objects.ts";
import type { ExitReason } from "./transition.ts";
import { nextContainerStatus } from "./transition.ts";

type Deps = Pick<LifecycleDeps, "store" | "events" | "log" | "cgroups" | "background">;

/**
 * Takes note of an exit whose record is durable already (the monitor's exit file), so nobody waits for our own record.
 * An exit that is known, or of a container that is going, changes nothing.
 */
export function recordExit(deps: Deps, entry: ContainerEntry, exit: ExitRecord, why?: ExitReason): void {
  const { phase } = entry.container.status;
  if (entry.isStarting && exit.startedAt === 0n && why === undefined) {
    return;
  }
  if (phase === "creating") {
    entry.earlyExit = exit;
    return;
  }
  if (phase !== "created" && phase !== "running" && phase !== "unknown") {
    entry.exited.resolve();
    return;
  }
  const status = nextContainerStatus(entry.container.status, {
    kind: "exited",
    exit,
    ...(why === undefined ? {} : { why }),
  });
  entry.container = { ...entry.container, status };
  clearTimeout(entry.stop?.timer);
  saveLater(deps, entry);
  killRest(deps, entry);
  entry.exited.resolve();
  deps.events.publish("stopped", entry.container.id, entry.pod);
}

/**
 * The end of the first process ends a PID namespace and all in it. Without one of its own, the container's other processes
 * would live on; what a user sees as one container ends as one.
 */
function killRest(deps: Deps, entry: ContainerEntry): void {
  const { id, cgroupPath, config } = entry.container;
  if (config.security.namespaces.pid !== "CONTAINER") {
    void deps.background.add(`kill ${id}`, () => deps.cgroups.killAll(cgroupPath));
  }
}

/** Writes the newest record without anyone waiting; the monitor knows the same, so a lost write is found again. */
export function saveLater(deps: Pick<Deps, "store" | "log">, entry: ContainerEntry): void {
  deps.store.putContainer(entry.container).catch((error: unknown) => {
    deps.log.error(
      { err: error, container: entry.container.id },
      "a container's record could not be written",
    );
  });
}
