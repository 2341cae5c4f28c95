import type {
  ListPodSandboxStatsRequest,
  ListPodSandboxStatsResponse,
} from "../../../../../proto/gen/api.ts";
import { selectPods } from "../../../domain/sandbox/list.ts";
import { podUsages } from "../../../domain/sandbox/stats.ts";
import { presentPodStats } from "../../../present/pod-stats.ts";
import { toSandboxQuery } from "../../../validate/filters.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function listPodSandboxStats(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "usage" | "clock" | "log">,
): UnaryHandler<ListPodSandboxStatsRequest, ListPodSandboxStatsResponse> {
  return async ({ filter }) => {
    const usages = await podUsages(deps, selectPods(deps.objects, toSandboxQuery(filter)));
    return { stats: usages.map(presentPodStats) };
  };
}
