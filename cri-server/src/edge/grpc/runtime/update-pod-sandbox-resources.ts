import type {
  UpdatePodSandboxResourcesRequest,
  UpdatePodSandboxResourcesResponse,
} from "../../../../../proto/gen/api.ts";
import { updateSandboxResources } from "../../../domain/sandbox/update.ts";
import { toId } from "../../../validate/ids.ts";
import { toResources } from "../../../validate/resources.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function updatePodSandboxResources(
  deps: Pick<RuntimeDeps, "objects" | "locks" | "store">,
): UnaryHandler<UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse> {
  return async ({ podSandboxId, overhead, resources }, { signal }) => {
    const pod = deps.objects.pod(toId("pod_sandbox_id", podSandboxId));
    const given = {
      overhead: overhead === undefined ? undefined : toResources(overhead),
      resources: resources === undefined ? undefined : toResources(resources),
    };
    await deps.locks.run(pod.sandbox.id, () => updateSandboxResources(deps, pod, given), signal);
    return {};
  };
}
