import type { PodSandboxStatsRequest, PodSandboxStatsResponse } from "../../../../../proto/gen/api.ts";
import { podUsage } from "../../../domain/sandbox/stats.ts";
import { presentPodStats } from "../../../present/pod-stats.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function podSandboxStats(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "usage" | "clock" | "log">,
): UnaryHandler<PodSandboxStatsRequest, PodSandboxStatsResponse> {
  return async ({ podSandboxId }) => {
    const pod = deps.objects.pod(toId("pod_sandbox_id", podSandboxId));
    return { stats: presentPodStats(await podUsage(deps, pod)) };
  };
}
