import { isIP } from "node:net";
import type {
  UpdateRuntimeConfigRequest,
  UpdateRuntimeConfigResponse,
} from "../../../../../proto/gen/api.ts";
import { invalid } from "../../../validate/check.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** pod_cidr may hold one range of each family, parted by a comma. Nothing given changes nothing. */
export function updateRuntimeConfig(
  deps: Pick<RuntimeDeps, "network">,
): UnaryHandler<UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse> {
  return async ({ runtimeConfig }) => {
    const cidr = runtimeConfig?.networkConfig?.podCidr ?? "";
    if (cidr === "") {
      return {};
    }
    for (const range of cidr.split(",")) {
      const [address = "", length = ""] = range.trim().split("/");
      const family = isIP(address);
      if (family === 0 || !/^\d{1,3}$/.test(length) || Number(length) > (family === 4 ? 32 : 128)) {
        throw invalid("runtime_config.network_config.pod_cidr", cidr, "not one or two address ranges");
      }
    }
    await deps.network.setPodCidr(cidr);
    return {};
  };
}
