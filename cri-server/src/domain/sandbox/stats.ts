import { BerthError } from "../../errors/berth-error.ts";
import type { CgroupUsage } from "../../ports/cgroups.ts";
import type { HostUsage } from "../../ports/host-usage.ts";
import type { LayerUsageSource } from "../../ports/layer-usage.ts";
import type { NetworkUsage, PodUsage } from "../../ports/usage.ts";
import { containerUsages } from "../container/stats.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { PodEntry } from "../objects.ts";

type Deps = Pick<LifecycleDeps, "cgroups" | "log" | "objects" | "clock"> & {
  readonly layers: LayerUsageSource;
  readonly usage: HostUsage;
};

/** Figures of a pod that is ready. */
export async function podUsage(deps: Deps, entry: PodEntry): Promise<PodUsage> {
  const { sandbox } = entry;
  if (sandbox.status.phase !== "ready") {
    throw new BerthError(
      "wrong-state",
      `pod_sandbox_id ${sandbox.id}: the pod sandbox is ${sandbox.status.phase}`,
    );
  }
  const [containers, network] = await Promise.all([
    containerUsages(deps, [...entry.containers.values()]),
    podNetwork(deps, entry),
  ]);
  const cgroup = hasParentAlone(deps, entry)
    ? await deps.cgroups.usage(sandbox.cgroupParent)
    : sumOfUsages(
        containers.map((container) => container.cgroup),
        deps.clock.now(),
      );
  return { sandbox, cgroup, network, containers };
}

/** Figures of those that are ready; one that goes meanwhile is left out. */
export async function podUsages(deps: Deps, entries: readonly PodEntry[]): Promise<readonly PodUsage[]> {
  const ready = entries.filter((entry) => entry.sandbox.status.phase === "ready");
  const results = await Promise.allSettled(ready.map((entry) => podUsage(deps, entry)));
  const usages: PodUsage[] = [];
  for (const [index, result] of results.entries()) {
    const sandbox = ready[index]?.sandbox;
    if (result.status === "fulfilled") usages.push(result.value);
    else if (sandbox?.status.phase === "ready") {
      deps.log.warn({ err: result.reason, sandbox: sandbox.id }, "the figures of a pod can't be read");
    }
  }
  return usages;
}

/** undefined for a pod in the host's network, whose counters are not the pod's. */
export async function podNetwork(
  deps: Pick<Deps, "usage">,
  { sandbox }: PodEntry,
): Promise<NetworkUsage | undefined> {
  const { netnsPath } = sandbox.status;
  if (netnsPath === undefined || netnsPath === "" || sandbox.config.namespaces.network === "NODE")
    return undefined;
  return await deps.usage.network(netnsPath);
}

/** The kubelet gives each pod a group of its own; a bare client puts all pods into one, which then counts them all. */
function hasParentAlone({ objects }: Pick<Deps, "objects">, { sandbox }: PodEntry): boolean {
  if (sandbox.cgroupParent === "/" || sandbox.config.cgroupParent === "") return false;
  for (const { sandbox: other } of objects.pods()) {
    if (other.id !== sandbox.id && isWithin(other.cgroupParent, sandbox.cgroupParent)) return false;
  }
  return true;
}

function isWithin(path: string, parent: string): boolean {
  return path === parent || path.startsWith(`${parent}/`);
}

/** A limit or pressure of the sum is nobody's, so there is none. */
export function sumOfUsages(usages: readonly CgroupUsage[], timestamp: bigint): CgroupUsage {
  const sum = (pick: (usage: CgroupUsage) => bigint) =>
    usages.reduce((total, usage) => total + pick(usage), 0n);
  return {
    timestamp,
    cpuTotal: sum((usage) => usage.cpuTotal),
    memoryUsage: sum((usage) => usage.memoryUsage),
    memoryWorkingSet: sum((usage) => usage.memoryWorkingSet),
    memoryRss: sum((usage) => usage.memoryRss),
    memoryLimit: undefined,
    pageFaults: sum((usage) => usage.pageFaults),
    majorPageFaults: sum((usage) => usage.majorPageFaults),
    swapUsage: sum((usage) => usage.swapUsage),
    swapLimit: undefined,
    processes: sum((usage) => usage.processes),
    psi: { cpu: undefined, memory: undefined, io: undefined },
  };
}
