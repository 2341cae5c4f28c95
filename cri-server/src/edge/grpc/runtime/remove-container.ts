import type { RemoveContainerRequest, RemoveContainerResponse } from "../../../../../proto/gen/api.ts";
import { removeContainer as remove } from "../../../domain/container/remove.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function removeContainer(
  deps: RuntimeDeps,
): UnaryHandler<RemoveContainerRequest, RemoveContainerResponse> {
  return async ({ containerId }, { signal }) => {
    const entry = deps.objects.findContainer(toId("container_id", containerId));
    if (entry !== undefined) {
      await deps.locks.run(entry.container.sandboxId, () => remove(deps, entry, signal), signal);
      deps.layers.forget(entry.container.layerDir);
    }
    return {};
  };
}
