import type {
  UpdateContainerResourcesRequest,
  UpdateContainerResourcesResponse,
} from "../../../../../proto/gen/api.ts";
import { updateResources } from "../../../domain/container/update.ts";
import { required } from "../../../validate/check.ts";
import { toId } from "../../../validate/ids.ts";
import { toResources } from "../../../validate/resources.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function updateContainerResources(
  deps: Pick<RuntimeDeps, "objects" | "locks" | "cgroups" | "store">,
): UnaryHandler<UpdateContainerResourcesRequest, UpdateContainerResourcesResponse> {
  return async ({ containerId, linux }, { signal }) => {
    const entry = deps.objects.container(toId("container_id", containerId));
    const patch = toResources(required(linux, "linux"));
    await deps.locks.run(entry.container.sandboxId, () => updateResources(deps, entry, patch), signal);
    return {};
  };
}
