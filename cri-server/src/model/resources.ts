/**
 * The resources of one container (CRI LinuxContainerResources). A missing field means "not given": on create the kernel's
 * own default stays, on update the present value stays.
 */
export interface Resources {
  /** Relative weight, 2..262144, as given; never rounded through cpu.weight. */
  readonly cpuShares?: bigint;
  /** Microseconds of CPU time per period; -1 is unlimited. */
  readonly cpuQuota?: bigint;
  /** Microseconds, 1000..1000000. */
  readonly cpuPeriod?: bigint;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  /** Bytes. */
  readonly memoryLimit?: bigint;
  /** Bytes of memory plus swap; -1 is unlimited. */
  readonly memorySwapLimit?: bigint;
  /** -1000..1000. */
  readonly oomScoreAdj?: number;
  readonly hugepageLimits?: readonly HugepageLimit[];
  /** Raw cgroup v2 files, applied last and authoritative. Ignored on v1. */
  readonly unified?: Readonly<Record<string, string>>;
  /** From the configuration, not from CRI. */
  readonly pidsLimit?: bigint;
}

export interface HugepageLimit {
  /** As the kernel writes it: "2MB", "1GB". */
  readonly pageSize: string;
  /** Bytes. */
  readonly limit: bigint;
}
