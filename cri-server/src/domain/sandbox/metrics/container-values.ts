import type { Container } from "../../../model/container.ts";
import type { BlockIo, CgroupDetails, Psi } from "../../../ports/cgroups.ts";
import type { FileSystemSpace, ProcessUsage } from "../../../ports/host-usage.ts";
import type { LayerUsage } from "../../../ports/layer-usage.ts";

/** A value with the labels after the base ones. */
export type Reading = readonly [name: string, value: bigint, ...labels: readonly string[]];

export interface ContainerReadings {
  readonly container: Container;
  readonly cgroup: CgroupDetails;
  readonly layer: LayerUsage;
  readonly space: FileSystemSpace;
  readonly processes: ProcessUsage;
  /** BlockIo.device to its name. */
  readonly deviceNames: ReadonlyMap<string, string>;
  /** Seconds since the epoch. */
  readonly now: bigint;
}

/** What cAdvisor would say of a container, by its names without the prefix. */
export function containerReadings(from: ContainerReadings): readonly Reading[] {
  return [
    ...processorReadings(from.cgroup),
    ...memoryReadings(from.cgroup),
    ...storageReadings(from),
    ...pressureReadings("cpu", from.cgroup.psi.cpu),
    ...pressureReadings("memory", from.cgroup.psi.memory),
    ...pressureReadings("io", from.cgroup.psi.io),
    ...processReadings(from),
    ...limitReadings(from.container),
    ...from.cgroup.hugepages.flatMap(({ pageSize, usage, maxUsage }): readonly Reading[] => [
      ["hugetlb_usage_bytes", usage, pageSize],
      ["hugetlb_max_usage_bytes", maxUsage, pageSize],
    ]),
  ];
}

/** Whole seconds: CRI's values are integers. */
function seconds(nanoseconds: bigint): bigint {
  return nanoseconds / 1_000_000_000n;
}

function processorReadings(cgroup: CgroupDetails): readonly Reading[] {
  return [
    ["cpu_usage_seconds_total", seconds(cgroup.cpuTotal), "total"],
    ["cpu_user_seconds_total", seconds(cgroup.cpuUser)],
    ["cpu_system_seconds_total", seconds(cgroup.cpuSystem)],
    ["cpu_cfs_periods_total", cgroup.periods],
    ["cpu_cfs_throttled_periods_total", cgroup.throttledPeriods],
    ["cpu_cfs_throttled_seconds_total", seconds(cgroup.throttledTime)],
  ];
}

function memoryReadings(cgroup: CgroupDetails): readonly Reading[] {
  return [
    ["memory_usage_bytes", cgroup.memoryUsage],
    ["memory_working_set_bytes", cgroup.memoryWorkingSet],
    ["memory_rss", cgroup.memoryRss],
    ["memory_cache", cgroup.memoryCache],
    ["memory_mapped_file", cgroup.memoryMappedFile],
    ["memory_kernel_usage", cgroup.memoryKernel],
    ["memory_swap", cgroup.swapUsage],
    ["memory_max_usage_bytes", cgroup.memoryMaxUsage],
    ["memory_failcnt", cgroup.memoryFailures],
    // A container has no groups below it unless it makes them, so both scopes are one.
    ["memory_failures_total", cgroup.pageFaults, "pgfault", "container"],
    ["memory_failures_total", cgroup.majorPageFaults, "pgmajfault", "container"],
    ["memory_failures_total", cgroup.pageFaults, "pgfault", "hierarchy"],
    ["memory_failures_total", cgroup.majorPageFaults, "pgmajfault", "hierarchy"],
    ["oom_events_total", cgroup.oomKills],
  ];
}

function storageReadings({ cgroup, layer, space, deviceNames }: ContainerReadings): readonly Reading[] {
  return [
    ["fs_usage_bytes", layer.usedBytes, space.device],
    ["fs_limit_bytes", space.totalBytes, space.device],
    ["fs_inodes_total", space.totalInodes, space.device],
    ["fs_inodes_free", space.freeInodes, space.device],
    ...cgroup.blockIo.flatMap((io) => deviceReadings(io, deviceNames.get(io.device) ?? io.device)),
  ];
}

function deviceReadings(io: BlockIo, name: string): readonly Reading[] {
  const [major = "", minor = ""] = io.device.split(":");
  return [
    ["fs_reads_bytes_total", io.readBytes, name],
    ["fs_reads_total", io.reads, name],
    ["fs_writes_bytes_total", io.writtenBytes, name],
    ["fs_writes_total", io.writes, name],
    ["blkio_device_usage_total", io.readBytes, name, major, minor, "Read"],
    ["blkio_device_usage_total", io.writtenBytes, name, major, minor, "Write"],
  ];
}

/** Pressure is counted in microseconds. */
function pressureReadings(resource: "cpu" | "memory" | "io", psi: Psi | undefined): readonly Reading[] {
  if (psi === undefined) return [];
  return [
    [`pressure_${resource}_waiting_seconds_total`, psi.some.total / 1_000_000n],
    [`pressure_${resource}_stalled_seconds_total`, psi.full.total / 1_000_000n],
  ];
}

function processReadings({ container, cgroup, processes, now }: ContainerReadings): readonly Reading[] {
  const { status } = container;
  const startedAt = "startedAt" in status ? status.startedAt : container.createdAt;
  return [
    ["processes", BigInt(processes.processes)],
    ["threads", cgroup.processes],
    ["threads_max", cgroup.threadsLimit ?? 0n],
    ["file_descriptors", BigInt(processes.fileDescriptors)],
    ["sockets", BigInt(processes.sockets)],
    ...(processes.openFilesLimit === undefined
      ? []
      : [["ulimits_soft", processes.openFilesLimit, "max_open_files"] as const]),
    ["start_time_seconds", seconds(startedAt)],
    ["last_seen", now],
  ];
}

function limitReadings({ resources }: Container): readonly Reading[] {
  const low = resources.unified?.["memory.low"];
  const quota = resources.cpuQuota ?? 0n;
  return [
    // The kernel's defaults where nothing was asked for.
    ["spec_cpu_period", resources.cpuPeriod ?? 100_000n],
    ["spec_cpu_shares", resources.cpuShares ?? 1024n],
    ["spec_cpu_quota", quota > 0n ? quota : 0n],
    ["spec_memory_limit_bytes", positive(resources.memoryLimit)],
    ["spec_memory_swap_limit_bytes", positive(resources.memorySwapLimit)],
    ["spec_memory_reservation_limit_bytes", low !== undefined && /^[0-9]+$/.test(low) ? BigInt(low) : 0n],
  ];
}

function positive(value: bigint | undefined): bigint {
  return value !== undefined && value > 0n ? value : 0n;
}
