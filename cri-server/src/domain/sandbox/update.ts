import type { Resources } from "../../model/resources.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { PodEntry } from "../objects.ts";

type Deps = Pick<LifecycleDeps, "store">;

/**
 * Notes a pod's new sums. The pod's cgroup is the kubelet's: it calls this before it writes there, and again with the old
 * values when that fails. The caller holds the pod's lock.
 */
export async function updateSandboxResources(
  deps: Deps,
  pod: PodEntry,
  given: { readonly overhead: Resources | undefined; readonly resources: Resources | undefined },
): Promise<void> {
  const { overhead, resources } = given;
  const updated = {
    ...pod.sandbox,
    config: {
      ...pod.sandbox.config,
      ...(overhead === undefined ? {} : { overhead }),
      ...(resources === undefined ? {} : { resources }),
    },
  };
  await deps.store.putSandbox(updated);
  pod.sandbox = updated;
}
