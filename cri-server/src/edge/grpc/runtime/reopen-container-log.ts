import type { ReopenContainerLogRequest, ReopenContainerLogResponse } from "../../../../../proto/gen/api.ts";
import { runningMonitor } from "../../../domain/container/exec.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function reopenContainerLog(
  deps: Pick<RuntimeDeps, "objects">,
): UnaryHandler<ReopenContainerLogRequest, ReopenContainerLogResponse> {
  return async ({ containerId }) => {
    const entry = deps.objects.container(toId("container_id", containerId));
    await runningMonitor(entry).reopenLog(entry.container.id);
    return {};
  };
}
