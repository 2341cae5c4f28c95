import type { PortForwardRequest, PortForwardResponse } from "../../../../../proto/gen/api.ts";
import { preparePortForward } from "../../../domain/stream/requests.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function portForward(
  deps: Pick<RuntimeDeps, "streams" | "targets">,
): UnaryHandler<PortForwardRequest, PortForwardResponse> {
  return async ({ podSandboxId, port }) => {
    const id = toId("pod_sandbox_id", podSandboxId);
    return { url: deps.streams.issue(await preparePortForward(deps.targets, id, port)) };
  };
}
