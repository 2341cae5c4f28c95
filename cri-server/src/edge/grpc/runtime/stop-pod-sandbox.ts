import type { StopPodSandboxRequest, StopPodSandboxResponse } from "../../../../../proto/gen/api.ts";
import { stopSandbox } from "../../../domain/sandbox/stop.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function stopPodSandbox(
  deps: RuntimeDeps,
): UnaryHandler<StopPodSandboxRequest, StopPodSandboxResponse> {
  return async ({ podSandboxId }, { signal }) => {
    const pod = deps.objects.findPod(toId("pod_sandbox_id", podSandboxId));
    if (pod !== undefined) {
      await deps.locks.run(pod.sandbox.id, () => stopSandbox(deps, pod, signal), signal);
    }
    return {};
  };
}
