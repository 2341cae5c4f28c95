import type {
  StreamPodSandboxMetricsRequest,
  StreamPodSandboxMetricsResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { StreamHandler } from "../handler.ts";

export function streamPodSandboxMetrics(): StreamHandler<
  StreamPodSandboxMetricsRequest,
  StreamPodSandboxMetricsResponse
> {
  return async () => {
    throw new BerthError("unimplemented", "StreamPodSandboxMetrics: not offered by this version");
  };
}
