import type {
  StreamContainerStatsRequest,
  StreamContainerStatsResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { StreamHandler } from "../handler.ts";

export function streamContainerStats(): StreamHandler<
  StreamContainerStatsRequest,
  StreamContainerStatsResponse
> {
  return async () => {
    throw new BerthError("unimplemented", "StreamContainerStats: not offered by this version");
  };
}
