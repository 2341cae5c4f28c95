import type { LinuxContainerResources } from "../../../proto/gen/api.ts";
import type { HugepageLimit, Resources } from "../model/resources.ts";
import type { Check } from "./check.ts";
import { complain, hasControl, runChecks } from "./check.ts";

const field = "linux.resources";
const cpuList = /^\d+(-\d+(:\d+\/\d+)?)?(,\d+(-\d+(:\d+\/\d+)?)?)*$/;
const maxInt64 = 2n ** 63n - 1n;

const checks: readonly Check<LinuxContainerResources>[] = [
  ({ cpuPeriod }) =>
    cpuPeriod !== 0n && (cpuPeriod < 1000n || cpuPeriod > 1_000_000n)
      ? complain(`${field}.cpu_period`, cpuPeriod, "not within 1000..1000000 microseconds")
      : undefined,
  ({ cpuQuota }) =>
    cpuQuota !== 0n && cpuQuota !== -1n && cpuQuota < 1000n
      ? complain(`${field}.cpu_quota`, cpuQuota, "neither -1 nor at least 1000 microseconds")
      : undefined,
  // The kubelet can ask for more or less than the kernel takes; cgroup v1 itself clamps to 2..262144, so only nonsense is refused.
  ({ cpuShares }) => (cpuShares < 0n ? complain(`${field}.cpu_shares`, cpuShares, "is negative") : undefined),
  ({ memoryLimitInBytes }) =>
    memoryLimitInBytes < 0n
      ? complain(`${field}.memory_limit_in_bytes`, memoryLimitInBytes, "is negative; 0 is no limit")
      : undefined,
  ({ memorySwapLimitInBytes: swap }) =>
    swap < -1n
      ? complain(`${field}.memory_swap_limit_in_bytes`, swap, "is negative; -1 is unlimited")
      : undefined,
  ({ memorySwapLimitInBytes: swap, memoryLimitInBytes: memory }) =>
    swap > 0n && swap < memory
      ? complain(`${field}.memory_swap_limit_in_bytes`, swap, `less than memory_limit_in_bytes ${memory}`)
      : undefined,
  ({ oomScoreAdj }) =>
    oomScoreAdj < -1000n || oomScoreAdj > 1000n
      ? complain(`${field}.oom_score_adj`, oomScoreAdj, "not within -1000..1000")
      : undefined,
  ({ cpusetCpus }) => cpuset("cpuset_cpus", cpusetCpus),
  ({ cpusetMems }) => cpuset("cpuset_mems", cpusetMems),
  ({ hugepageLimits }) => {
    const bad = hugepageLimits.find(({ pageSize }) => !/^[1-9]\d*[KMG]B$/.test(pageSize));
    return bad === undefined
      ? undefined
      : complain(`${field}.hugepage_limits.page_size`, bad.pageSize, "not a size like 2MB");
  },
  ({ hugepageLimits }) => {
    const bad = hugepageLimits.find(({ limit }) => limit > maxInt64);
    return bad === undefined
      ? undefined
      : complain(`${field}.hugepage_limits.limit`, bad.limit, `more than ${maxInt64}`);
  },
  ({ unified }) => {
    const bad = Object.entries(unified).find(([key]) => !/^[a-z0-9_]+(\.[A-Za-z0-9_-]+)+$/.test(key));
    return bad === undefined
      ? undefined
      : complain(`${field}.unified`, bad[0], "not the name of a cgroup file");
  },
  ({ unified }) => {
    const bad = Object.entries(unified).find(([, value]) => value.includes("\0") || value.length > 4096);
    return bad === undefined
      ? undefined
      : complain(`${field}.unified ${bad[0]}`, bad[1], "has a NUL in it or is longer than 4096");
  },
];

function cpuset(name: string, value: string): string | undefined {
  return value !== "" && (!cpuList.test(value) || hasControl(value))
    ? complain(`${field}.${name}`, value, "not a list like 0-3,7")
    : undefined;
}

/** Resources of a new container, pod or overhead: zero and empty are "not given". */
export function toResources(message: LinuxContainerResources | undefined): Resources {
  if (message === undefined) {
    return {};
  }
  runChecks(message, checks);
  return {
    ...(message.cpuShares === 0n ? {} : { cpuShares: message.cpuShares }),
    ...(message.cpuQuota === 0n ? {} : { cpuQuota: message.cpuQuota }),
    ...(message.cpuPeriod === 0n ? {} : { cpuPeriod: message.cpuPeriod }),
    ...(message.cpusetCpus === "" ? {} : { cpusetCpus: message.cpusetCpus }),
    ...(message.cpusetMems === "" ? {} : { cpusetMems: message.cpusetMems }),
    ...(message.memoryLimitInBytes === 0n ? {} : { memoryLimit: message.memoryLimitInBytes }),
    ...(message.memorySwapLimitInBytes === 0n ? {} : { memorySwapLimit: message.memorySwapLimitInBytes }),
    ...(message.oomScoreAdj === 0n ? {} : { oomScoreAdj: Number(message.oomScoreAdj) }),
    ...(message.hugepageLimits.length === 0 ? {} : { hugepageLimits: hugepages(message) }),
    ...(Object.keys(message.unified).length === 0 ? {} : { unified: { ...message.unified } }),
  };
}

function hugepages(message: LinuxContainerResources): readonly HugepageLimit[] {
  return message.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit }));
}
