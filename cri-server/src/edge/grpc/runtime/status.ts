import { join } from "node:path";
import type { StatusRequest, StatusResponse } from "../../../../../proto/gen/api.ts";
import { berthVersion } from "../../../config/version.ts";
import { runtimeStatus } from "../../../domain/runtime-status.ts";
import { runtimeHandlers } from "../../../validate/sandbox-config.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function status(
  deps: Pick<RuntimeDeps, "network" | "host" | "background" | "config">,
): UnaryHandler<StatusRequest, StatusResponse> {
  return async ({ verbose }) => {
    const { conditions, features } = runtimeStatus(deps);
    return {
      status: { conditions: conditions.map((condition) => ({ ...condition })) },
      info: verbose ? info(deps) : {},
      // One entry for each name, "" included: the kubelet looks the default handler up by exactly that.
      runtimeHandlers: runtimeHandlers.map((name) => ({
        name,
        features: {
          recursiveReadOnlyMounts: features.recursiveReadOnlyMounts,
          userNamespaces: features.userNamespaces,
        },
      })),
      features: {
        supplementalGroupsPolicy: true,
        userNamespacesHostNetwork: false,
        mountOptions: true,
      },
    };
  };
}

function info(deps: Pick<RuntimeDeps, "network" | "background" | "config">): Record<string, string> {
  return {
    ...deps.network.describe(),
    // stateDir is the name by which tools know the folder that root filesystems lie in.
    config: JSON.stringify({ ...deps.config, stateDir: join(deps.config.root, "containers") }),
    berth: JSON.stringify({ version: berthVersion, pendingWork: deps.background.pending() }),
  };
}
