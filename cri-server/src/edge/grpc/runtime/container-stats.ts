import type { ContainerStatsRequest, ContainerStatsResponse } from "../../../../../proto/gen/api.ts";
import { runningMonitor } from "../../../domain/container/exec.ts";
import { containerUsage } from "../../../domain/container/stats.ts";
import { presentContainerStats } from "../../../present/stats.ts";
import { toId } from "../../../validate/ids.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function containerStats(
  deps: Pick<RuntimeDeps, "objects" | "cgroups" | "layers" | "log">,
): UnaryHandler<ContainerStatsRequest, ContainerStatsResponse> {
  return async ({ containerId }) => {
    const entry = deps.objects.container(toId("container_id", containerId));
    runningMonitor(entry);
    return { stats: presentContainerStats(await containerUsage(deps, entry)) };
  };
}
