import type { LinuxContainerResources } from "../../../proto/gen/api.ts";
import type { Resources } from "../model/resources.ts";

/** What is applied, as it was asked for. */
export function presentResources(resources: Resources): LinuxContainerResources {
  return {
    cpuPeriod: resources.cpuPeriod ?? 0n,
    cpuQuota: resources.cpuQuota ?? 0n,
    cpuShares: resources.cpuShares ?? 0n,
    memoryLimitInBytes: resources.memoryLimit ?? 0n,
    oomScoreAdj: BigInt(resources.oomScoreAdj ?? 0),
    cpusetCpus: resources.cpusetCpus ?? "",
    cpusetMems: resources.cpusetMems ?? "",
    hugepageLimits: (resources.hugepageLimits ?? []).map(({ pageSize, limit }) => ({ pageSize, limit })),
    unified: { ...resources.unified },
    memorySwapLimitInBytes: resources.memorySwapLimit ?? 0n,
  };
}
