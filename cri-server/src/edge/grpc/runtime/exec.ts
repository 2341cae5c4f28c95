import type { ExecRequest, ExecResponse } from "../../../../../proto/gen/api.ts";
import { prepareExec } from "../../../domain/stream/requests.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function exec(
  deps: Pick<RuntimeDeps, "streams" | "targets">,
): UnaryHandler<ExecRequest, ExecResponse> {
  return async ({ containerId, cmd, tty, stdin, stdout, stderr }) => {
    const id = toId("container_id", containerId);
    const request = await prepareExec(deps.targets, id, cmd, { stdin, stdout, stderr, tty });
    return { url: deps.streams.issue(request) };
  };
}
