import { removeDirectories } from "./container/remove.ts";
import type { LifecycleDeps } from "./deps.ts";

type Deps = Pick<LifecycleDeps, "storage" | "monitors">;

/** Removes the directory of a pod without a record, and the mounts that its monitor has left. */
export async function removePodLeftover(deps: Deps, id: string): Promise<void> {
  await deps.storage.unpin(id);
  await deps.monitors.removeTrees([deps.storage.pod(id).dir]);
}

/** Removes what the store has of a container without a record. */
export async function removeContainerLeftover(deps: Deps, id: string): Promise<void> {
  await removeDirectories(deps, id);
  await deps.storage.removeExit(id);
}
