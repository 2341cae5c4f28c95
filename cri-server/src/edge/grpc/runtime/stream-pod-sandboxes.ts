import type { StreamPodSandboxesRequest, StreamPodSandboxesResponse } from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { StreamHandler } from "../handler.ts";

export function streamPodSandboxes(): StreamHandler<StreamPodSandboxesRequest, StreamPodSandboxesResponse> {
  return async () => {
    throw new BerthError("unimplemented", "StreamPodSandboxes: not offered by this version");
  };
}
