import type {
  ListPodSandboxMetricsRequest,
  ListPodSandboxMetricsResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function listPodSandboxMetrics(): UnaryHandler<
  ListPodSandboxMetricsRequest,
  ListPodSandboxMetricsResponse
> {
  return async () => {
    throw new BerthError("unimplemented", "ListPodSandboxMetrics: not offered by this version");
  };
}
