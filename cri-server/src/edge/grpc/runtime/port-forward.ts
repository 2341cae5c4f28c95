import type { PortForwardRequest, PortForwardResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function portForward(): UnaryHandler<PortForwardRequest, PortForwardResponse> {
  return async () => {
    throw new BerthError("unimplemented", "PortForward: not offered by this version");
  };
}
