import { orAborted } from "../../lib/keyed-mutex.ts";
import { killNow } from "../container/stop.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { PodEntry } from "../objects.ts";
import { nextSandboxStatus } from "./transition.ts";

type Deps = Pick<
  LifecycleDeps,
  "store" | "network" | "events" | "background" | "failpoint" | "storage" | "log"
>;

/**
 * Stops a pod: kills what runs in it and detaches its network. Answers when the processes have ended and the stop is
 * durable; taking links and addresses away goes on behind, until it has worked. The caller holds the pod's lock.
 */
export async function stopSandbox(deps: Deps, pod: PodEntry, signal?: AbortSignal): Promise<void> {
  const { status } = pod.sandbox;
  if (status.phase === "removing" || (status.phase === "notready" && status.attached === undefined)) {
    return;
  }
  pod.sandbox = { ...pod.sandbox, status: nextSandboxStatus(status, { kind: "stop" }) };
  await Promise.all([deps.store.putSandbox(pod.sandbox), killContainers(pod, signal)]);
  if (status.phase === "ready") {
    deps.events.publish("stopped", pod.sandbox.id, pod);
  }
  const detached = finishStop(deps, pod);
  if (hasHostPorts(pod)) {
    // The next pod may ask for the same host port as soon as this one has been stopped.
    await orAborted(detached, signal);
  }
}

/** Whether others may be waiting for what this pod's network holds. */
export function hasHostPorts(pod: PodEntry): boolean {
  return pod.sandbox.config.portMappings.some((mapping) => mapping.hostPort !== 0);
}

/** SIGKILL to all, then waits until each exit is recorded. */
export async function killContainers(pod: PodEntry, signal?: AbortSignal): Promise<void> {
  await Promise.all(
    [...pod.containers.values()].map(async (entry) => {
      const { phase } = entry.container.status;
      if (phase !== "running" && phase !== "created") {
        return;
      }
      await killNow(entry);
      await orAborted(entry.exited.promise, signal);
    }),
  );
}

/** Detaches the network until it has worked; then the sandbox is NOTREADY for good. */
export function finishStop(deps: Deps, pod: PodEntry): Promise<void> {
  const { id } = pod.sandbox;
  return deps.background.add(`stop ${id}`, async () => {
    await deps.failpoint("sandbox.stop.detach");
    await detachNetwork(deps, pod);
    if (pod.sandbox.status.phase !== "stopping") {
      return;
    }
    pod.sandbox = { ...pod.sandbox, status: nextSandboxStatus(pod.sandbox.status, { kind: "stopped" }) };
    await deps.store.putSandbox(pod.sandbox);
  });
}

/** Idempotent: a network that is detached stays so. */
export async function detachNetwork(deps: Pick<Deps, "network" | "storage">, pod: PodEntry): Promise<void> {
  const { id, config } = pod.sandbox;
  if (config.namespaces.network === "POD") {
    await deps.network.detach(id, deps.storage.pod(id).netns);
  }
}
