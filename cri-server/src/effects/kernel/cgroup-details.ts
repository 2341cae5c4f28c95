import type { BlockIo, CgroupDetails, CgroupUsage } from "../../ports/cgroups.ts";
import { flatValue, parseNumber } from "./cgroup-usage.ts";

/** Reads one file of a group; undefined when it is missing. */
export type GroupReader = (file: string) => string | undefined;

/** The v2 files that only metrics need. */
export function detailsV2(
  read: GroupReader,
  usage: CgroupUsage,
  pageSizes: readonly string[],
): CgroupDetails {
  const cpu = read("cpu.stat");
  const memory = read("memory.stat");
  const events = read("memory.events");
  const micro = (key: string) => flatValue(cpu, key) * 1000n;
  return {
    ...usage,
    cpuUser: micro("user_usec"),
    cpuSystem: micro("system_usec"),
    periods: flatValue(cpu, "nr_periods"),
    throttledPeriods: flatValue(cpu, "nr_throttled"),
    throttledTime: micro("throttled_usec"),
    memoryCache: flatValue(memory, "file"),
    memoryMappedFile: flatValue(memory, "file_mapped"),
    memoryKernel: flatValue(memory, "kernel"),
    memoryMaxUsage: parseNumber(read("memory.peak")) ?? usage.memoryUsage,
    memoryFailures: flatValue(events, "max"),
    oomKills: flatValue(events, "oom_kill"),
    threadsLimit: parseNumber(read("pids.max")),
    blockIo: parseIoStat(read("io.stat")),
    hugepages: pageSizes.flatMap((pageSize) => {
      const current = parseNumber(read(`hugetlb.${pageSize}.current`));
      // v2 keeps no high-water mark: the present value is the best that is known.
      return current === undefined ? [] : [{ pageSize, usage: current, maxUsage: current }];
    }),
    pids: parsePids(read("cgroup.procs")),
  };
}

/** The v1 files that only metrics need; each file name starts with its controller's name. */
export function detailsV1(
  read: GroupReader,
  usage: CgroupUsage,
  pageSizes: readonly string[],
): CgroupDetails {
  const cpu = read("cpu.stat");
  const memory = read("memory.stat");
  return {
    ...usage,
    cpuUser: parseNumber(read("cpuacct.usage_user")) ?? 0n,
    cpuSystem: parseNumber(read("cpuacct.usage_sys")) ?? 0n,
    periods: flatValue(cpu, "nr_periods"),
    throttledPeriods: flatValue(cpu, "nr_throttled"),
    throttledTime: flatValue(cpu, "throttled_time"),
    memoryCache: flatValue(memory, "total_cache"),
    memoryMappedFile: flatValue(memory, "total_mapped_file"),
    memoryKernel: parseNumber(read("memory.kmem.usage_in_bytes")) ?? 0n,
    memoryMaxUsage: parseNumber(read("memory.max_usage_in_bytes")) ?? 0n,
    memoryFailures: parseNumber(read("memory.failcnt")) ?? 0n,
    oomKills: flatValue(read("memory.oom_control"), "oom_kill"),
    threadsLimit: parseNumber(read("pids.max")),
    blockIo: parseThrottle(
      read("blkio.throttle.io_service_bytes_recursive"),
      read("blkio.throttle.io_serviced_recursive"),
    ),
    hugepages: pageSizes.flatMap((pageSize) => {
      const current = parseNumber(read(`hugetlb.${pageSize}.usage_in_bytes`));
      const most = parseNumber(read(`hugetlb.${pageSize}.max_usage_in_bytes`));
      return current === undefined ? [] : [{ pageSize, usage: current, maxUsage: most ?? current }];
    }),
    pids: parsePids(read("memory/cgroup.procs")),
  };
}

/** `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...` (cgroup-v2.rst, io.stat). */
export function parseIoStat(text: string | undefined): readonly BlockIo[] {
  return (text ?? "").split("\n").flatMap((line): readonly BlockIo[] => {
    const [device, ...fields] = line.split(" ");
    if (device === undefined || !device.includes(":")) return [];
    const values = new Map(fields.map((field) => field.split("=") as [string, string]));
    const value = (key: string) => BigInt(values.get(key) ?? 0);
    return [
      {
        device,
        readBytes: value("rbytes"),
        writtenBytes: value("wbytes"),
        reads: value("rios"),
        writes: value("wios"),
      },
    ];
  });
}

/** `8:0 Read 1` lines of two v1 files: bytes and operations. */
export function parseThrottle(bytes: string | undefined, operations: string | undefined): readonly BlockIo[] {
  const bytesOf = byDevice(bytes);
  const operationsOf = byDevice(operations);
  return [...bytesOf.keys()].map((device) => ({
    device,
    readBytes: bytesOf.get(device)?.get("Read") ?? 0n,
    writtenBytes: bytesOf.get(device)?.get("Write") ?? 0n,
    reads: operationsOf.get(device)?.get("Read") ?? 0n,
    writes: operationsOf.get(device)?.get("Write") ?? 0n,
  }));
}

function byDevice(text: string | undefined): ReadonlyMap<string, ReadonlyMap<string, bigint>> {
  const devices = new Map<string, Map<string, bigint>>();
  for (const line of (text ?? "").split("\n")) {
    const [device, operation, value] = line.split(" ");
    if (device === undefined || operation === undefined || value === undefined) continue;
    const operations = devices.get(device) ?? new Map<string, bigint>();
    operations.set(operation, BigInt(value));
    devices.set(device, operations);
  }
  return devices;
}

function parsePids(text: string | undefined): readonly number[] {
  // 0 stands for a process of another PID namespace.
  return (text ?? "")
    .split("\n")
    .map(Number)
    .filter((pid) => pid > 0);
}
