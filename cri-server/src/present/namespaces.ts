import type { IDMapping, NamespaceOption } from "../../../proto/gen/api.ts";
import { NamespaceMode } from "../../../proto/gen/api.ts";
import type { IdMapping, NamespaceOptions } from "../model/namespaces.ts";

/** The options as they were asked for: the kubelet makes a pod anew when they come back different. */
export function presentNamespaces(options: NamespaceOptions): NamespaceOption {
  return {
    network: NamespaceMode[options.network],
    pid: NamespaceMode[options.pid],
    ipc: NamespaceMode[options.ipc],
    targetId: options.targetId ?? "",
    usernsOptions:
      options.userns === undefined
        ? undefined
        : {
            mode: NamespaceMode.POD,
            uids: options.userns.uidMappings.map(presentIdMapping),
            gids: options.userns.gidMappings.map(presentIdMapping),
          },
  };
}

export function presentIdMapping(mapping: IdMapping): IDMapping {
  return { hostId: mapping.hostId, containerId: mapping.containerId, length: mapping.length };
}
