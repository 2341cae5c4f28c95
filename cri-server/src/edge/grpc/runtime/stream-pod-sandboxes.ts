import type { StreamPodSandboxesRequest } from "../../../../../proto/gen/api.ts";
import { selectSandboxes } from "../../../domain/sandbox/list.ts";
import { toSandboxQuery } from "../../../validate/filters.ts";
import type { StreamHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";
import { sandboxRows } from "./list-pod-sandbox.ts";

/** ListPodSandbox in encoded messages, all of one moment. */
export function streamPodSandboxes(
  deps: Pick<RuntimeDeps, "objects">,
): StreamHandler<StreamPodSandboxesRequest, Buffer> {
  return async ({ filter }, send) => {
    for (const batch of sandboxRows.batches(selectSandboxes(deps.objects, toSandboxQuery(filter)))) {
      await send(batch);
    }
  };
}
