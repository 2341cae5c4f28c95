import type { CreateContainerRequest, CreateContainerResponse } from "../../../../../proto/gen/api.ts";
import { createContainer as create } from "../../../domain/container/create.ts";
import { toContainerConfig } from "../../../validate/container-config.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function createContainer(
  deps: RuntimeDeps,
): UnaryHandler<CreateContainerRequest, CreateContainerResponse> {
  return async ({ podSandboxId, config }, caller) => {
    const pod = deps.objects.pod(toId("pod_sandbox_id", podSandboxId));
    const wanted = toContainerConfig(config, pod.sandbox.config.namespaces);
    return {
      containerId: await deps.locks.run(
        pod.sandbox.id,
        () => create(deps, pod, wanted, caller),
        caller.signal,
      ),
    };
  };
}
