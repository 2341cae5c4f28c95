import type { PodSandboxStatusRequest, PodSandboxStatusResponse } from "../../../../../proto/gen/api.ts";
import { presentSandboxStatus } from "../../../present/sandbox.ts";
import { sandboxInfo } from "../../../present/verbose.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function podSandboxStatus(
  deps: Pick<RuntimeDeps, "objects">,
): UnaryHandler<PodSandboxStatusRequest, PodSandboxStatusResponse> {
  return async ({ podSandboxId, verbose }) => {
    const pod = deps.objects.pod(toId("pod_sandbox_id", podSandboxId));
    return {
      status: presentSandboxStatus(pod.sandbox),
      info: verbose ? sandboxInfo(pod.sandbox) : {},
      // Both or neither. A kubelet with EventedPLEG that is given them takes the pod's containers from here alone and then
      // runs its init containers again and again (1.37: it looks for them in a list that only ContainerStatus fills,
      // kubernetes/kubernetes#133371). Without them it asks for each container, as it does without that gate.
      containersStatuses: [],
      timestamp: 0n,
    };
  };
}
