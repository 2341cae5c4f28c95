import type { ListContainerStatsRequest, ListContainerStatsResponse } from "../../../../../proto/gen/api.ts";
import { selectContainers } from "../../../domain/container/list.ts";
import { containerUsages } from "../../../domain/container/stats.ts";
import { presentContainerStats } from "../../../present/stats.ts";
import { toContainerQuery } from "../../../validate/filters.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function listContainerStats(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "log">,
): UnaryHandler<ListContainerStatsRequest, ListContainerStatsResponse> {
  return async ({ filter }) => {
    const selected = selectContainers(deps.objects, toContainerQuery(filter));
    const usages = await containerUsages(deps, selected);
    return { stats: usages.map(presentContainerStats) };
  };
}
