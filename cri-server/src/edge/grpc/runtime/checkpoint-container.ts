import type {
  CheckpointContainerRequest,
  CheckpointContainerResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function checkpointContainer(): UnaryHandler<CheckpointContainerRequest, CheckpointContainerResponse> {
  return async () => {
    throw new BerthError("unimplemented", "CheckpointContainer: not offered by this version");
  };
}
