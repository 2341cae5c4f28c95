import type { RuntimeConfigRequest, RuntimeConfigResponse } from "../../../../../proto/gen/api.ts";
import { CgroupDriver } from "../../../../../proto/gen/api.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** Set explicitly: the enum's zero value would tell the kubelet to use systemd. */
export function runtimeConfig(
  deps: Pick<RuntimeDeps, "cgroups">,
): UnaryHandler<RuntimeConfigRequest, RuntimeConfigResponse> {
  return async () => ({
    linux: {
      cgroupDriver: deps.cgroups.driver === "systemd" ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS,
    },
  });
}
