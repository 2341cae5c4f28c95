import type { RestorePodRequest, RestorePodResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function restorePod(): UnaryHandler<RestorePodRequest, RestorePodResponse> {
  return async () => {
    throw new BerthError("unimplemented", "RestorePod: not offered by this version");
  };
}
