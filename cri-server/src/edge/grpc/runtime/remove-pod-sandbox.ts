import type { RemovePodSandboxRequest, RemovePodSandboxResponse } from "../../../../../proto/gen/api.ts";
import { removeSandbox } from "../../../domain/sandbox/remove.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function removePodSandbox(
  deps: RuntimeDeps,
): UnaryHandler<RemovePodSandboxRequest, RemovePodSandboxResponse> {
  return async ({ podSandboxId }, { signal }) => {
    const pod = deps.objects.findPod(toId("pod_sandbox_id", podSandboxId));
    if (pod !== undefined) {
      await deps.locks.run(pod.sandbox.id, () => removeSandbox(deps, pod, signal), signal);
    }
    return {};
  };
}
