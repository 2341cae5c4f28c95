import type { ContainerStatus } from "../model/container.ts";
import type { ImageId } from "../model/ids.ts";
import type { Sandbox } from "../model/sandbox.ts";
import type { ExitRecord, Monitor, MonitoredContainer } from "../ports/monitor.ts";
import { recordExit, saveLater } from "./container/exit.ts";
import { cleanUpContainer, leaseOwners } from "./container/remove.ts";
import { nextContainerStatus } from "./container/transition.ts";
import type { LifecycleDeps } from "./deps.ts";
import { removeContainerLeftover, removePodLeftover } from "./leftovers.ts";
import type { ContainerEntry, PodEntry } from "./objects.ts";
import { loseMonitor, watchMonitor } from "./sandbox/monitoring.ts";
import { cleanUpSandbox } from "./sandbox/remove.ts";
import { finishStop } from "./sandbox/stop.ts";
import { nextSandboxStatus } from "./sandbox/transition.ts";

type Deps = LifecycleDeps;

/**
 * Makes memory, records and kernel agree after a start. What ran is found again by its monitor; what ended meanwhile is
 * reported as it ended; what was half made is taken back; what was half removed is removed. Serving starts after it.
 */
export async function recover(deps: Deps): Promise<void> {
  const stored = await deps.store.load();
  for (const sandbox of stored.sandboxes) {
    deps.objects.addPod(sandbox);
  }
  for (const container of stored.containers) {
    const pod = findPod(deps, container.sandboxId);
    if (pod === undefined) {
      deps.log.error({ container: container.id }, "a container's record without its sandbox's was dropped");
      await deps.store.deleteContainer(container.id);
      continue;
    }
    deps.objects.addContainer(container, pod);
  }
  const pods = [...deps.objects.pods()];
  await Promise.all(pods.map((pod) => recoverPodOrLog(deps, pod)));
  await deps.images.retain(leases(deps));
  await removeLeftovers(deps);
  deps.log.info({ sandboxes: pods.length, containers: stored.containers.length }, "recovered");
}

function findPod(deps: Deps, id: string): PodEntry | undefined {
  for (const pod of deps.objects.pods()) {
    if (pod.sandbox.id === id) {
      return pod;
    }
  }
  return undefined;
}

/** One pod that can't be recovered must not keep the others from being served. */
async function recoverPodOrLog(deps: Deps, pod: PodEntry): Promise<void> {
  try {
    await recoverPod(deps, pod);
  } catch (error) {
    deps.log.error({ err: error, sandbox: pod.sandbox.id }, "a pod could not be recovered");
  }
}

async function recoverPod(deps: Deps, pod: PodEntry): Promise<void> {
  const { status } = pod.sandbox;
  const isThisBoot = status.bootId === deps.host.bootId;
  if (!isThisBoot) {
    await recoverFromReboot(deps, pod);
  } else {
    await reconnect(deps, pod);
  }
  rollForward(deps, pod);
}

/** Nothing of another boot runs. Records say how it ended, addresses and writable layers are given back. */
async function recoverFromReboot(deps: Deps, pod: PodEntry): Promise<void> {
  const reason = "the node was restarted";
  for (const entry of pod.containers.values()) {
    if (isLive(entry.container.status)) {
      await reportMissing(deps, entry, { exitCode: 255, reason: "Unknown", message: reason });
    }
    const { upper, work } = deps.storage.container(entry.container.id);
    void deps.background.add(`wipe ${entry.container.id}`, () => deps.monitors.removeTrees([upper, work]));
  }
  const { phase } = pod.sandbox.status;
  if (phase === "ready" || phase === "stopping" || phase === "unknown") {
    pod.sandbox = {
      ...pod.sandbox,
      status: nextSandboxStatus(pod.sandbox.status, { kind: "lost", reason }),
    };
    pod.sandbox = { ...pod.sandbox, status: nextSandboxStatus(pod.sandbox.status, { kind: "stop" }) };
    await deps.store.putSandbox(pod.sandbox);
  }
}

/** Connects to the pod's monitor and asks what it knows; a monitor that is gone ends the pod. */
async function reconnect(deps: Deps, pod: PodEntry): Promise<void> {
  const { id, status } = pod.sandbox;
  if (status.monitor === undefined) {
    await adoptUnrecorded(deps, pod);
    await endWithoutMonitor(deps, pod);
    return;
  }
  let monitor: Monitor;
  let known: readonly MonitoredContainer[];
  try {
    monitor = await deps.monitors.reconnect(id, deps.storage.pod(id).dir, status.monitor);
    known = await monitor.list();
  } catch (error) {
    deps.log.warn({ err: error, sandbox: id }, "the pod's monitor can't be reached");
    await loseMonitor(deps, pod);
    return;
  }
  watchMonitor(deps, pod, monitor);
  const byId = new Map(known.map((container) => [container.containerId, container]));
  for (const entry of pod.containers.values()) {
    await reconcile(deps, entry, byId.get(entry.container.id));
    byId.delete(entry.container.id);
  }
  for (const strangerId of byId.keys()) {
    deps.log.warn({ sandbox: id, container: strangerId }, "a container without a record was removed");
    await monitor.remove(strangerId);
  }
}

/**
 * A server that died while it made a pod has not recorded the pod's monitor, which may be there all the same: it is found by
 * its socket, so that the rollback can end it.
 */
async function adoptUnrecorded(deps: Deps, pod: PodEntry): Promise<void> {
  const { id, status } = pod.sandbox;
  if (status.phase !== "creating" && status.phase !== "removing") {
    return;
  }
  try {
    pod.monitor = await deps.monitors.reconnect(id, deps.storage.pod(id).dir, { pid: 0, startTime: 0n });
  } catch (error) {
    deps.log.debug({ err: error, sandbox: id }, "a half-made pod has no monitor");
  }
}

async function endWithoutMonitor(deps: Deps, pod: PodEntry): Promise<void> {
  for (const entry of pod.containers.values()) {
    if (isLive(entry.container.status)) {
      await deps.cgroups.killAll(entry.container.cgroupPath);
      await reportMissing(deps, entry, {
        exitCode: 137,
        reason: "MonitorLost",
        message: "the pod's monitor ended unexpectedly, and its processes were killed",
      });
    }
  }
}

/** Brings one container's record to what its monitor says. */
async function reconcile(
  deps: Deps,
  entry: ContainerEntry,
  known: MonitoredContainer | undefined,
): Promise<void> {
  const { status } = entry.container;
  if (!isLive(status)) {
    return;
  }
  if (known === undefined) {
    await reportMissing(deps, entry, {
      exitCode: 137,
      reason: "Unknown",
      message: "the pod's monitor does not know this container",
    });
    return;
  }
  if (known.state === "running" && status.phase === "created") {
    entry.container = {
      ...entry.container,
      status: nextContainerStatus(status, { kind: "started", startedAt: known.startedAt }),
    };
    saveLater(deps, entry);
  }
  if (known.state === "exited") {
    const exit = known.exit ?? (await deps.storage.readExit(entry.container.id));
    await reportExit(deps, entry, exit);
  }
}

async function reportExit(deps: Deps, entry: ContainerEntry, exit: ExitRecord | undefined): Promise<void> {
  if (exit === undefined) {
    await reportMissing(deps, entry, {
      exitCode: 137,
      reason: "Unknown",
      message: "its exit was not recorded",
    });
    return;
  }
  recordExit(deps, entry, exit);
}

interface Missing {
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
}

/** A container that nobody runs any more: its exit file tells how it ended, else `missing` does. */
async function reportMissing(deps: Deps, entry: ContainerEntry, missing: Missing): Promise<void> {
  const { id, status } = entry.container;
  const exit = await deps.storage.readExit(id);
  if (exit !== undefined) {
    recordExit(deps, entry, exit);
    return;
  }
  const startedAt = status.phase === "running" ? status.startedAt : 0n;
  recordExit(
    deps,
    entry,
    {
      containerId: id,
      exitCode: missing.exitCode,
      oomKilled: false,
      startedAt,
      finishedAt: deps.clock.now(),
    },
    { reason: missing.reason, message: missing.message },
  );
}

function isLive(status: ContainerStatus): boolean {
  return status.phase === "created" || status.phase === "running" || status.phase === "unknown";
}

/** Drives what was under way to its end: removals and stops go on, half-made things go away. */
function rollForward(deps: Deps, pod: PodEntry): void {
  for (const entry of pod.containers.values()) {
    const { phase } = entry.container.status;
    if (phase === "creating" || phase === "removing") {
      entry.container = { ...entry.container, status: { phase: "removing" } };
      entry.exited.resolve();
      void cleanUpContainer(deps, entry);
    } else if (phase === "exited") {
      entry.exited.resolve();
    }
  }
  const { phase } = pod.sandbox.status;
  if (phase === "creating" || phase === "removing") {
    const cgroupDirs = pod.sandbox.status.cgroupDirs ?? halfMadeParent(deps, pod.sandbox);
    pod.sandbox = { ...pod.sandbox, status: { ...pod.sandbox.status, phase: "removing", cgroupDirs } };
    void cleanUpSandbox(deps, pod);
  } else if (phase === "stopping") {
    void finishStop(deps, pod);
  }
}

/**
 * A server that died while it made the default cgroup parent has not recorded which directories it made. The default parent
 * is Berth's own, so all of them are taken for that; one that is in use stays.
 */
function halfMadeParent(deps: Deps, sandbox: Sandbox): readonly string[] {
  return sandbox.config.cgroupParent === "" ? deps.cgroups.joining(sandbox.cgroupParent).join : [];
}

/** Who may go on holding an image. */
function leases(deps: Deps): ReadonlyMap<string, ImageId> {
  const owners = new Map<string, ImageId>();
  for (const { container } of deps.objects.containers()) {
    const [own, ...volumes] = leaseOwners(container.id, container.mounts);
    if (own !== undefined) {
      owners.set(own, container.imageId);
    }
    const mounts = container.mounts.filter((mount) => mount.image !== "");
    for (const [index, owner] of volumes.entries()) {
      // One that was removed while it is in use can't be found.
      const id = mounts[index]?.imageId ?? deps.images.find(mounts[index]?.image ?? "")?.id;
      if (id !== undefined) {
        owners.set(owner, id);
      }
    }
  }
  return owners;
}

/** Directories, pins and exit files that no record names: what was made just before a crash and never promised. */
async function removeLeftovers(deps: Deps): Promise<void> {
  const sandboxIds = new Set([...deps.objects.pods()].map((pod) => pod.sandbox.id as string));
  const containerIds = new Set([...deps.objects.containers()].map((entry) => entry.container.id as string));
  const left = await deps.storage.leftovers(sandboxIds, containerIds);
  for (const id of left.sandboxIds) {
    void deps.background.add(`leftover ${id}`, () => removePodLeftover(deps, id));
  }
  for (const id of left.containerIds) {
    void deps.background.add(`leftover ${id}`, () => removeContainerLeftover(deps, id));
  }
  void deps.background.add("network collect", () => deps.network.collect([...sandboxIds]));
}
