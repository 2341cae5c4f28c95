import type { CheckpointPodRequest, CheckpointPodResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function checkpointPod(): UnaryHandler<CheckpointPodRequest, CheckpointPodResponse> {
  return async () => {
    throw new BerthError("unimplemented", "CheckpointPod: not offered by this version");
  };
}
