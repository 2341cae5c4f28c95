import type {
  StreamPodSandboxStatsRequest,
  StreamPodSandboxStatsResponse,
} from "../../../../../proto/gen/api.ts";
import { selectPods } from "../../../domain/sandbox/list.ts";
import { podUsages } from "../../../domain/sandbox/stats.ts";
import { presentPodStats } from "../../../present/pod-stats.ts";
import { toSandboxQuery } from "../../../validate/filters.ts";
import type { StreamHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** Pods whose figures are read, and sent, together. */
const perMessage = 100;

export function streamPodSandboxStats(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "usage" | "clock" | "log">,
): StreamHandler<StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse> {
  return async ({ filter }, send) => {
    const selected = selectPods(deps.objects, toSandboxQuery(filter));
    for (let at = 0; at < selected.length; at += perMessage) {
      const usages = await podUsages(deps, selected.slice(at, at + perMessage));
      if (usages.length > 0) {
        await send({ podSandboxStats: usages.map(presentPodStats) });
      }
    }
  };
}
