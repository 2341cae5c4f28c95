import type { StreamContainersRequest } from "../../../../../proto/gen/api.ts";
import { selectContainers } from "../../../domain/container/list.ts";
import { toContainerQuery } from "../../../validate/filters.ts";
import type { StreamHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";
import { containerRows } from "./list-containers.ts";

/** ListContainers in encoded messages, all of one moment. */
export function streamContainers(
  deps: Pick<RuntimeDeps, "objects">,
): StreamHandler<StreamContainersRequest, Buffer> {
  return async ({ filter }, send) => {
    const selected = selectContainers(deps.objects, toContainerQuery(filter));
    for (const batch of containerRows.batches(selected.map((entry) => entry.container))) {
      await send(batch);
    }
  };
}
