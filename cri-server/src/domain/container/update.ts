import { BerthError } from "../../errors/berth-error.ts";
import type { Resources } from "../../model/resources.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry } from "../objects.ts";

type Deps = Pick<LifecycleDeps, "cgroups" | "store">;

/**
 * Changes a container's limits. A patch: what is missing stays. All or nothing. The caller holds the pod's lock.
 */
export async function updateResources(deps: Deps, entry: ContainerEntry, patch: Resources): Promise<void> {
  const { id, status, cgroupPath, resources } = entry.container;
  if (status.phase !== "created" && status.phase !== "running") {
    throw new BerthError(
      "wrong-state",
      `container_id ${id}: the container is ${status.phase}, neither created nor running`,
    );
  }
  const updated = await deps.cgroups.update(cgroupPath, resources, patch);
  entry.container = { ...entry.container, resources: updated };
  await deps.store.putContainer(entry.container);
}
