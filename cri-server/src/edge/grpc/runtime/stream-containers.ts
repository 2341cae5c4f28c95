import type { StreamContainersRequest, StreamContainersResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { StreamHandler } from "../handler.ts";

export function streamContainers(): StreamHandler<StreamContainersRequest, StreamContainersResponse> {
  return async () => {
    throw new BerthError("unimplemented", "StreamContainers: not offered by this version");
  };
}
