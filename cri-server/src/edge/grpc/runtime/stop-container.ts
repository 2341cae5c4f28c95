import type { StopContainerRequest, StopContainerResponse } from "../../../../../proto/gen/api.ts";
import { stopContainer as stop } from "../../../domain/container/stop.ts";
import { invalid } from "../../../validate/check.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function stopContainer(
  deps: Pick<RuntimeDeps, "objects" | "log">,
): UnaryHandler<StopContainerRequest, StopContainerResponse> {
  return async ({ containerId, timeout }, { signal }) => {
    if (timeout < 0n) {
      throw invalid("timeout", timeout, "is negative");
    }
    const entry = deps.objects.findContainer(toId("container_id", containerId));
    if (entry !== undefined) {
      // Without the pod's lock: a grace period of minutes must not keep others of the pod waiting.
      await stop(deps, entry, timeout, signal);
    }
    return {};
  };
}
