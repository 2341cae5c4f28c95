import type { ExecRequest, ExecResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function exec(): UnaryHandler<ExecRequest, ExecResponse> {
  return async () => {
    throw new BerthError("unimplemented", "Exec: not offered by this version");
  };
}
