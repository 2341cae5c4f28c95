import type { ListContainerStatsRequest } from "../../../../../proto/gen/api.ts";
import { selectContainers } from "../../../domain/container/list.ts";
import { containerUsages } from "../../../domain/container/stats.ts";
import { toContainerQuery } from "../../../validate/filters.ts";
import { encodeStats } from "../encoded-stats.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** Answers with the encoded ListContainerStatsResponse. */
export function listContainerStats(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "log">,
): UnaryHandler<ListContainerStatsRequest, Buffer> {
  return async ({ filter }) => {
    const selected = selectContainers(deps.objects, toContainerQuery(filter));
    return encodeStats(await containerUsages(deps, selected));
  };
}
