import type { PodSandboxStatusRequest, PodSandboxStatusResponse } from "../../../../../proto/gen/api.ts";
import { isContainerVisible } from "../../../domain/objects.ts";
import { presentContainerStatus } from "../../../present/container.ts";
import { presentSandboxStatus } from "../../../present/sandbox.ts";
import { sandboxInfo } from "../../../present/verbose.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function podSandboxStatus(
  deps: Pick<RuntimeDeps, "objects" | "clock">,
): UnaryHandler<PodSandboxStatusRequest, PodSandboxStatusResponse> {
  return async ({ podSandboxId, verbose }) => {
    const pod = deps.objects.pod(toId("pod_sandbox_id", podSandboxId));
    const containers = [...pod.containers.values()].filter(({ container }) =>
      isContainerVisible(container.status),
    );
    return {
      status: presentSandboxStatus(pod.sandbox),
      info: verbose ? sandboxInfo(pod.sandbox) : {},
      // Both or neither: with a timestamp the kubelet takes the pod's containers from this answer alone.
      containersStatuses: containers.map(({ container }) => presentContainerStatus(container)),
      timestamp: deps.clock.now(),
    };
  };
}
