import type { StartContainerRequest, StartContainerResponse } from "../../../../../proto/gen/api.ts";
import { startContainer as start } from "../../../domain/container/start.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function startContainer(
  deps: RuntimeDeps,
): UnaryHandler<StartContainerRequest, StartContainerResponse> {
  return async ({ containerId }, { signal }) => {
    const entry = deps.objects.container(toId("container_id", containerId));
    await deps.locks.run(entry.container.sandboxId, () => start(deps, entry), signal);
    return {};
  };
}
