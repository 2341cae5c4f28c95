import { BerthError } from "../../errors/berth-error.ts";
import type { Resources } from "../../model/resources.ts";

/** One value for one file of a controller. */
export interface ControllerWrite {
  readonly controller: string;
  readonly file: string;
  readonly value: string;
  /** What the client asked for, for an error; undefined for a default of ours, which is left out where it can't be set. */
  readonly field: string | undefined;
}

/** Writes for cgroup v2, `unified` last. */
export function valuesV2(resources: Resources): readonly ControllerWrite[] {
  const writes: ControllerWrite[] = [];
  const add = (controller: string, file: string, value: string, field: string | undefined) =>
    writes.push({ controller, file, value, field });
  const { cpuShares, cpusetCpus, cpusetMems, memoryLimit, pidsLimit } = resources;
  // A weight bounds nothing, and every client sends one: without the controller there is nothing to share.
  if (positive(cpuShares)) add("cpu", "cpu.weight", String(weightOfShares(cpuShares)), undefined);
  const max = cpuMax(resources);
  if (max !== undefined) add("cpu", "cpu.max", max, max.startsWith("max") ? undefined : "cpu_quota");
  if (cpusetCpus) add("cpuset", "cpuset.cpus", cpusetCpus, "cpuset_cpus");
  if (cpusetMems) add("cpuset", "cpuset.mems", cpusetMems, "cpuset_mems");
  if (memoryLimit) add("memory", "memory.max", limitText(memoryLimit), "memory_limit_in_bytes");
  const swap = swapMax(resources);
  // "No swap" and "all swap" are what a kernel without swap accounting does anyway.
  if (swap !== undefined) {
    add(
      "memory",
      "memory.swap.max",
      swap,
      swap === "0" || swap === "max" ? undefined : "memory_swap_limit_in_bytes",
    );
  }
  if (pidsLimit !== undefined) add("pids", "pids.max", limitText(pidsLimit), undefined);
  for (const { pageSize, limit } of resources.hugepageLimits ?? []) {
    const field = limit === 0n ? undefined : `hugepage_limits ${pageSize}`;
    add("hugetlb", `hugetlb.${pageSize}.max`, String(limit), field);
    // Reservations count apart since 5.7; without this limit mmap succeeds and the first touch is SIGBUS.
    add("hugetlb", `hugetlb.${pageSize}.rsvd.max`, String(limit), undefined);
  }
  for (const [file, value] of Object.entries(resources.unified ?? {})) {
    add(unifiedController(file), file, value, `unified ${file}`);
  }
  return writes;
}

/** Writes for cgroup v1, in an order that is right for a new group. */
export function valuesV1(resources: Resources): readonly ControllerWrite[] {
  const writes: ControllerWrite[] = [];
  const add = (controller: string, file: string, value: string, field: string | undefined) =>
    writes.push({ controller, file, value, field });
  const { cpuShares, cpuPeriod, cpuQuota, cpusetCpus, cpusetMems, memoryLimit, pidsLimit } = resources;
  if (positive(cpuShares)) add("cpu", "cpu.shares", String(cpuShares), undefined);
  const quotaField = positive(cpuQuota) ? "cpu_quota" : undefined;
  if (positive(cpuPeriod)) add("cpu", "cpu.cfs_period_us", String(cpuPeriod), quotaField);
  if (cpuQuota !== undefined && cpuQuota !== 0n) {
    add("cpu", "cpu.cfs_quota_us", String(cpuQuota < 0n ? -1n : cpuQuota), quotaField);
  }
  if (cpusetCpus) add("cpuset", "cpuset.cpus", cpusetCpus, "cpuset_cpus");
  if (cpusetMems) add("cpuset", "cpuset.mems", cpusetMems, "cpuset_mems");
  if (memoryLimit) {
    add(
      "memory",
      "memory.limit_in_bytes",
      String(memoryLimit < 0n ? -1n : memoryLimit),
      "memory_limit_in_bytes",
    );
  }
  const memsw = resources.memorySwapLimit;
  if (memsw !== undefined && memsw !== 0n) {
    const field = memsw < 0n || memsw === memoryLimit ? undefined : "memory_swap_limit_in_bytes";
    add("memory", "memory.memsw.limit_in_bytes", String(memsw < 0n ? -1n : memsw), field);
  }
  if (pidsLimit !== undefined) add("pids", "pids.max", limitText(pidsLimit), undefined);
  for (const { pageSize, limit } of resources.hugepageLimits ?? []) {
    const field = limit === 0n ? undefined : `hugepage_limits ${pageSize}`;
    add("hugetlb", `hugetlb.${pageSize}.limit_in_bytes`, String(limit), field);
    add("hugetlb", `hugetlb.${pageSize}.rsvd.limit_in_bytes`, String(limit), undefined);
  }
  return writes;
}

/**
 * cpu.shares as cpu.weight: the curve that runc, crun and the kubelet agreed on in 2025, through (2,1), (1024,100) and
 * (262144,10000); log-quadratic, so that a default stays a default.
 */
export function weightOfShares(shares: bigint): number {
  if (shares <= 2n) return 1;
  if (shares >= 262_144n) return 10_000;
  const log = Math.log2(Number(shares));
  const exponent = (log * log + 125 * log) / 612 - 7 / 34;
  return Math.ceil(10 ** exponent);
}

/** Checks the raw v2 file names: a file of this group, never a path, and nothing that moves processes or delegates. */
export function checkUnified(unified: Readonly<Record<string, string>>): void {
  for (const [file, value] of Object.entries(unified)) {
    if (!/^[a-z]+(\.[A-Za-z0-9_]+)+$/.test(file) || file.startsWith("cgroup.")) {
      throw new BerthError(
        "invalid-argument",
        `resources.unified: ${JSON.stringify(file)} is not a controller's file`,
      );
    }
    if (value.includes("\0")) {
      throw new BerthError("invalid-argument", `resources.unified: ${file} contains a NUL byte`);
    }
  }
}

function cpuMax({ cpuQuota, cpuPeriod }: Resources): string | undefined {
  const period = positive(cpuPeriod) ? ` ${cpuPeriod}` : "";
  if (positive(cpuQuota)) return `${cpuQuota}${period}`;
  if (cpuQuota !== undefined && cpuQuota < 0n) return `max${period}`;
  return period === "" ? undefined : `max${period}`;
}

function swapMax({ memoryLimit, memorySwapLimit }: Resources): string | undefined {
  if (memorySwapLimit === undefined || memorySwapLimit === 0n) return undefined;
  if (memorySwapLimit < 0n) return "max";
  if (!positive(memoryLimit)) {
    throw new BerthError(
      "invalid-argument",
      `resources.memory_swap_limit_in_bytes: ${memorySwapLimit} needs a memory_limit_in_bytes`,
    );
  }
  if (memorySwapLimit < memoryLimit) {
    throw new BerthError(
      "invalid-argument",
      `resources.memory_swap_limit_in_bytes: ${memorySwapLimit} is below memory_limit_in_bytes ${memoryLimit}`,
    );
  }
  return String(memorySwapLimit - memoryLimit);
}

function unifiedController(file: string): string {
  return file.slice(0, file.indexOf("."));
}

function limitText(limit: bigint): string {
  return limit < 0n ? "max" : String(limit);
}

function positive(value: bigint | undefined): value is bigint {
  return value !== undefined && value > 0n;
}
