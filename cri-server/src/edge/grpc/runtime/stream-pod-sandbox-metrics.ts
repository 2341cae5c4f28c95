import type {
  StreamPodSandboxMetricsRequest,
  StreamPodSandboxMetricsResponse,
} from "../../../../../proto/gen/api.ts";
import { podMetricsOf } from "../../../domain/sandbox/metrics/pod-metrics.ts";
import { presentPodMetrics } from "../../../present/metrics.ts";
import type { StreamHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** Pods whose metrics are read, and sent, together. */
const perMessage = 50;

export function streamPodSandboxMetrics(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "usage" | "clock" | "log">,
): StreamHandler<StreamPodSandboxMetricsRequest, StreamPodSandboxMetricsResponse> {
  return async (_request, send) => {
    const pods = [...deps.objects.pods()];
    for (let at = 0; at < pods.length; at += perMessage) {
      const metrics = await podMetricsOf(deps, pods.slice(at, at + perMessage));
      if (metrics.length > 0) {
        await send({ podSandboxMetrics: metrics.map(presentPodMetrics) });
      }
    }
  };
}
