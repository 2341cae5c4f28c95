import type { AttachRequest, AttachResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function attach(): UnaryHandler<AttachRequest, AttachResponse> {
  return async () => {
    throw new BerthError("unimplemented", "Attach: not offered by this version");
  };
}
