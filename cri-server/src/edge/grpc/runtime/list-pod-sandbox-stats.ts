import type {
  ListPodSandboxStatsRequest,
  ListPodSandboxStatsResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function listPodSandboxStats(): UnaryHandler<ListPodSandboxStatsRequest, ListPodSandboxStatsResponse> {
  return async () => {
    throw new BerthError("unimplemented", "ListPodSandboxStats: not offered by this version");
  };
}
