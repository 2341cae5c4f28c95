import type { AttachRequest, AttachResponse } from "../../../../../proto/gen/api.ts";
import { prepareAttach } from "../../../domain/stream/requests.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function attach(
  deps: Pick<RuntimeDeps, "streams" | "targets">,
): UnaryHandler<AttachRequest, AttachResponse> {
  return async ({ containerId, tty, stdin, stdout, stderr }) => {
    const id = toId("container_id", containerId);
    const request = await prepareAttach(deps.targets, id, { stdin, stdout, stderr, tty });
    return { url: deps.streams.issue(request) };
  };
}
