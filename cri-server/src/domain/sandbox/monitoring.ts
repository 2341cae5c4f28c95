import type { ExitRecord, Monitor } from "../../ports/monitor.ts";
import { recordExit } from "../container/exit.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { PodEntry } from "../objects.ts";
import { initCgroupPath } from "./init-cgroup.ts";
import { nextSandboxStatus } from "./transition.ts";

type Deps = Pick<LifecycleDeps, "store" | "events" | "log" | "cgroups" | "background" | "clock" | "storage">;

/** Connects a pod to its monitor: exits are recorded, and its loss ends the pod. */
export function watchMonitor(deps: Deps, pod: PodEntry, monitor: Monitor): void {
  pod.monitor = monitor;
  monitor.onExit((exit) => {
    for (const entry of pod.containers.values()) {
      if (entry.container.id === exit.containerId) {
        recordExit(deps, entry, exit);
      }
    }
  });
  monitor.onLost(() => {
    loseMonitor(deps, pod).catch((error: unknown) => {
      deps.log.error({ err: error, sandbox: pod.sandbox.id }, "a lost monitor could not be dealt with");
    });
  });
}

const lostReason = "MonitorLost";
/** As after SIGKILL, which is what the containers get. */
const lostExitCode = 137;

/**
 * The pod's monitor is gone. Whatever it supervised is killed, so that nothing runs that nobody owns, and reported with
 * what its exit files say, else as killed.
 */
export async function loseMonitor(deps: Deps, pod: PodEntry): Promise<void> {
  const { id, status } = pod.sandbox;
  pod.monitor = undefined;
  if (status.phase === "removing" || status.phase === "creating") {
    return;
  }
  if (status.phase === "ready") {
    deps.log.error({ sandbox: id }, "the pod's monitor is gone; its processes are killed");
  } else {
    // The kubelet ends what is left in the cgroup of a stopped pod, PID 1 of a shared PID namespace too.
    deps.log.info({ sandbox: id }, "a stopped pod's monitor has ended");
  }
  for (const entry of pod.containers.values()) {
    const { phase } = entry.container.status;
    if (phase !== "running" && phase !== "created") {
      continue;
    }
    await deps.cgroups.killAll(entry.container.cgroupPath);
    const recorded = await deps.storage.readExit(entry.container.id);
    if (recorded !== undefined) {
      recordExit(deps, entry, recorded);
      continue;
    }
    const exit: ExitRecord = {
      containerId: entry.container.id,
      exitCode: lostExitCode,
      oomKilled: false,
      startedAt: phase === "running" ? startedAtOf(entry.container.status) : 0n,
      finishedAt: deps.clock.now(),
    };
    recordExit(deps, entry, exit, {
      reason: lostReason,
      message: "the pod's monitor ended unexpectedly, and its processes were killed",
    });
  }
  if (pod.sandbox.config.namespaces.pid === "POD") {
    await deps.cgroups.killAll(initCgroupPath(pod.sandbox));
  }
  pod.sandbox = {
    ...pod.sandbox,
    status: nextSandboxStatus(pod.sandbox.status, { kind: "lost", reason: lostReason }),
  };
  await deps.store.putSandbox(pod.sandbox);
  deps.events.publish("stopped", id, pod);
}

function startedAtOf(status: { readonly phase: string; readonly startedAt?: bigint }): bigint {
  return status.startedAt ?? 0n;
}
