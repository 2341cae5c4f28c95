import { orAborted } from "../../lib/keyed-mutex.ts";
import { cleanUpContainer, markRemoving } from "../container/remove.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { PodEntry } from "../objects.ts";
import { removeCgroupParent } from "./cgroup-parent.ts";
import { initCgroupPath } from "./init-cgroup.ts";
import { detachNetwork, finishStop, hasHostPorts, killContainers } from "./stop.ts";
import { nextSandboxStatus } from "./transition.ts";

type Deps = Pick<
  LifecycleDeps,
  | "store"
  | "events"
  | "cgroups"
  | "images"
  | "monitors"
  | "storage"
  | "network"
  | "background"
  | "objects"
  | "failpoint"
  | "locks"
  | "log"
>;

/**
 * Removes a pod and all its containers, by force. Answers when the removal is durable and no process of it runs; the rest
 * goes on behind, and again after a restart. The caller holds the pod's lock.
 */
export async function removeSandbox(deps: Deps, pod: PodEntry, signal?: AbortSignal): Promise<void> {
  if (pod.sandbox.status.phase === "removing") {
    return;
  }
  await killContainers(pod, signal);
  if (pod.sandbox.status.phase === "ready") {
    deps.events.publish("stopped", pod.sandbox.id, pod);
  }
  pod.sandbox = {
    ...pod.sandbox,
    status: nextSandboxStatus(pod.sandbox.status, { kind: "remove" }),
  };
  const containers = [...pod.containers.values()].filter(
    (entry) => entry.container.status.phase !== "removing",
  );
  await Promise.all([
    deps.store.putSandbox(pod.sandbox),
    ...containers.map((entry) => markRemoving(deps, entry)),
  ]);
  deps.events.publish("deleted", pod.sandbox.id, pod);
  void cleanUpSandbox(deps, pod);
  if (hasHostPorts(pod)) {
    await orAborted(finishStop(deps, pod), signal);
  }
}

/** Frees everything that a pod has, until it has worked. Resolves when nothing is left. */
export function cleanUpSandbox(deps: Deps, pod: PodEntry): Promise<void> {
  const { id } = pod.sandbox;
  return deps.background.add(`sandbox ${id}`, async () => {
    await Promise.all([
      ...[...pod.containers.values()].map((entry) => cleanUpContainer(deps, entry)),
      detachNetwork(deps, pod),
    ]);
    await deps.failpoint("sandbox.remove.shutdown");
    await pod.monitor?.shutdown();
    pod.monitor = undefined;
    await releaseSandbox(deps, pod);
    await deps.store.deleteSandbox(id);
    deps.objects.deletePod(pod);
  });
}

/** Frees what a pod holds outside its monitor. Each step is idempotent. */
export async function releaseSandbox(
  deps: Pick<Deps, "storage" | "cgroups" | "locks" | "objects" | "monitors">,
  pod: PodEntry,
): Promise<void> {
  const { sandbox } = pod;
  await deps.storage.unpin(sandbox.id);
  if (sandbox.config.namespaces.pid === "POD") {
    // Empty when a monitor has ended it; without one it may still run.
    await deps.cgroups.killAll(initCgroupPath(sandbox));
    await deps.cgroups.remove(initCgroupPath(sandbox));
  }
  await removeCgroupParent(deps, sandbox, sandbox.status.cgroupDirs ?? []);
  await deps.monitors.removeTrees([deps.storage.pod(sandbox.id).dir]);
}
