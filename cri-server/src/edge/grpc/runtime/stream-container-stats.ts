import type { StreamContainerStatsRequest } from "../../../../../proto/gen/api.ts";
import { selectContainers } from "../../../domain/container/list.ts";
import { containerUsages } from "../../../domain/container/stats.ts";
import { toContainerQuery } from "../../../validate/filters.ts";
import { encodeStats } from "../encoded-stats.ts";
import type { StreamHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** Containers whose figures are read, and sent, together. */
const perMessage = 100;

/** ListContainerStats in encoded messages. */
export function streamContainerStats(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "log">,
): StreamHandler<StreamContainerStatsRequest, Buffer> {
  return async ({ filter }, send) => {
    const selected = selectContainers(deps.objects, toContainerQuery(filter));
    for (let at = 0; at < selected.length; at += perMessage) {
      const usages = await containerUsages(deps, selected.slice(at, at + perMessage));
      if (usages.length > 0) {
        await send(encodeStats(usages));
      }
    }
  };
}
