import type { PodSandboxStatsRequest, PodSandboxStatsResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function podSandboxStats(): UnaryHandler<PodSandboxStatsRequest, PodSandboxStatsResponse> {
  return async () => {
    throw new BerthError("unimplemented", "PodSandboxStats: not offered by this version");
  };
}
