import { orAborted } from "../../lib/keyed-mutex.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry } from "../objects.ts";
import { killNow } from "./stop.ts";
import { nextContainerStatus } from "./transition.ts";

type Deps = Pick<
  LifecycleDeps,
  "store" | "events" | "cgroups" | "images" | "monitors" | "storage" | "background" | "objects" | "failpoint"
>;

/**
 * Removes a container, by force when it runs. Answers when the removal is durable; what takes time (cgroup, trees) goes on
 * behind, and again after a restart. The caller holds the pod's lock.
 */
export async function removeContainer(
  deps: Deps,
  entry: ContainerEntry,
  signal?: AbortSignal,
): Promise<void> {
  const { phase } = entry.container.status;
  if (phase === "removing") {
    return;
  }
  if (phase === "running" || phase === "created") {
    await killNow(entry);
    await orAborted(entry.exited.promise, signal);
  }
  await markRemoving(deps, entry);
  void cleanUpContainer(deps, entry);
}

/** Makes the removal durable and tells subscribers. */
export async function markRemoving(
  deps: Pick<Deps, "store" | "events">,
  entry: ContainerEntry,
): Promise<void> {
  entry.container = {
    ...entry.container,
    status: nextContainerStatus(entry.container.status, { kind: "remove" }),
  };
  await deps.store.putContainer(entry.container);
  deps.events.publish("deleted", entry.container.id, entry.pod);
}

/** Frees everything that a container has, until it has worked. Resolves when nothing is left. */
export function cleanUpContainer(deps: Deps, entry: ContainerEntry): Promise<void> {
  const { id } = entry.container;
  return deps.background.add(`container ${id}`, async () => {
    await deps.failpoint("container.remove.cleanup");
    await endProcess(deps, entry);
    await releaseContainer(deps, entry);
    await deps.store.deleteContainer(id);
    deps.objects.deleteContainer(entry);
  });
}

/** Its monitor ends and forgets it; without one, whatever is in its cgroup is killed. */
async function endProcess(deps: Pick<Deps, "cgroups">, entry: ContainerEntry): Promise<void> {
  const { id, cgroupPath } = entry.container;
  if (entry.pod.monitor !== undefined) {
    await entry.pod.monitor.remove(id);
  } else if (cgroupPath !== "") {
    await deps.cgroups.killAll(cgroupPath);
  }
}

/** The writable layer and what lies beside it, with what the file system has been told of them. */
export async function removeDirectories(deps: Pick<Deps, "monitors" | "storage">, id: string): Promise<void> {
  await deps.monitors.removeTrees([deps.storage.container(id).dir]);
  await deps.storage.releaseLayer(id);
}

/** Frees what a container holds outside its monitor. Each step is idempotent. */
export async function releaseContainer(
  deps: Pick<Deps, "cgroups" | "monitors" | "storage" | "images">,
  entry: Pick<ContainerEntry, "container">,
): Promise<void> {
  const { id, cgroupPath, config } = entry.container;
  if (cgroupPath !== "") {
    await deps.cgroups.remove(cgroupPath);
  }
  await removeDirectories(deps, id);
  await deps.storage.removeExit(id);
  for (const owner of leaseOwners(id, config.mounts)) {
    await deps.images.release(owner);
  }
}

/** Owners of the image leases that a container with these mounts takes: itself, and one for each image volume. */
export function leaseOwners(id: string, mounts: readonly { readonly image: string }[]): readonly string[] {
  const volumes = mounts.flatMap((mount, index) => (mount.image === "" ? [] : [volumeOwner(id, index)]));
  return [id, ...volumes];
}

/** Owner of the lease of the image volume in mounts[index]. */
export function volumeOwner(id: string, index: number): string {
  return `${id}/${index}`;
}
