import type {
  StreamPodSandboxStatsRequest,
  StreamPodSandboxStatsResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { StreamHandler } from "../handler.ts";

export function streamPodSandboxStats(): StreamHandler<
  StreamPodSandboxStatsRequest,
  StreamPodSandboxStatsResponse
> {
  return async () => {
    throw new BerthError("unimplemented", "StreamPodSandboxStats: not offered by this version");
  };
}
