import type { VersionRequest, VersionResponse } from "../../../../../proto/gen/api.ts";
import { berthVersion } from "../../../config/version.ts";
import type { UnaryHandler } from "../handler.ts";

/** The kubelet stops unless `version` is its own API constant. The name becomes the prefix of every container's id in the API. */
export function version(): UnaryHandler<VersionRequest, VersionResponse> {
  return async () => ({
    version: "0.1.0",
    runtimeName: "berth",
    runtimeVersion: berthVersion,
    runtimeApiVersion: "v1",
  });
}
