import type {
  ListPodSandboxMetricsRequest,
  ListPodSandboxMetricsResponse,
} from "../../../../../proto/gen/api.ts";
import { podMetricsOf } from "../../../domain/sandbox/metrics/pod-metrics.ts";
import { presentPodMetrics } from "../../../present/metrics.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function listPodSandboxMetrics(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "usage" | "clock" | "log">,
): UnaryHandler<ListPodSandboxMetricsRequest, ListPodSandboxMetricsResponse> {
  return async () => {
    const metrics = await podMetricsOf(deps, [...deps.objects.pods()]);
    return { podMetrics: metrics.map(presentPodMetrics) };
  };
}
