import type { ContainerStatusRequest, ContainerStatusResponse } from "../../../../../proto/gen/api.ts";
import { presentContainerStatus } from "../../../present/container.ts";
import { containerInfo } from "../../../present/verbose.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function containerStatus(
  deps: Pick<RuntimeDeps, "objects">,
): UnaryHandler<ContainerStatusRequest, ContainerStatusResponse> {
  return async ({ containerId, verbose }) => {
    const { container } = deps.objects.container(toId("container_id", containerId));
    return { status: presentContainerStatus(container), info: verbose ? containerInfo(container) : {} };
  };
}
