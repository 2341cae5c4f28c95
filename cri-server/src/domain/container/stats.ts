import type { LayerUsageSource } from "../../ports/layer-usage.ts";
import type { ContainerUsage } from "../../ports/usage.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry } from "../objects.ts";

type Deps = Pick<LifecycleDeps, "cgroups" | "log"> & { readonly layers: LayerUsageSource };

/** Figures of a container that runs. */
export async function containerUsage(deps: Deps, entry: ContainerEntry): Promise<ContainerUsage> {
  const { container } = entry;
  const [cgroup, layer] = await Promise.all([
    deps.cgroups.usage(container.cgroupPath),
    deps.layers.usage(container.layerDir),
  ]);
  return { container, cgroup, layer };
}

/** Figures of those that run; one that ends meanwhile is left out. */
export async function containerUsages(
  deps: Deps,
  entries: readonly ContainerEntry[],
): Promise<readonly ContainerUsage[]> {
  const running = entries.filter((entry) => entry.container.status.phase === "running");
  const results = await Promise.allSettled(running.map((entry) => containerUsage(deps, entry)));
  const usages: ContainerUsage[] = [];
  for (const [index, result] of results.entries()) {
    if (result.status === "fulfilled") {
      usages.push(result.value);
    } else if (running[index]?.container.status.phase === "running") {
      deps.log.warn(
        { err: result.reason, container: running[index].container.id },
        "the figures of a container can't be read",
      );
    }
  }
  return usages;
}
