import type { ContainerEventResponse, GetEventsRequest } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { StreamHandler } from "../handler.ts";

export function getContainerEvents(): StreamHandler<GetEventsRequest, ContainerEventResponse> {
  return async () => {
    throw new BerthError("unimplemented", "GetContainerEvents: not offered by this version");
  };
}
