import type { ExecSyncRequest, ExecSyncResponse } from "../../../../../proto/gen/api.ts";
import { execSync as run } from "../../../domain/container/exec.ts";
import { invalid } from "../../../validate/check.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function execSync(
  deps: Pick<RuntimeDeps, "objects" | "plan">,
): UnaryHandler<ExecSyncRequest, ExecSyncResponse> {
  return async ({ containerId, cmd, timeout }, { signal }) => {
    if (timeout < 0n) {
      throw invalid("timeout", timeout, "is negative");
    }
    const entry = deps.objects.container(toId("container_id", containerId));
    const { stdout, stderr, exitCode } = await run(deps, entry, cmd, timeout, signal);
    return { stdout, stderr, exitCode };
  };
}
