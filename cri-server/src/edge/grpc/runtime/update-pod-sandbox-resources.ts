import type {
  UpdatePodSandboxResourcesRequest,
  UpdatePodSandboxResourcesResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function updatePodSandboxResources(): UnaryHandler<
  UpdatePodSandboxResourcesRequest,
  UpdatePodSandboxResourcesResponse
> {
  return async () => {
    throw new BerthError("unimplemented", "UpdatePodSandboxResources: not offered by this version");
  };
}
