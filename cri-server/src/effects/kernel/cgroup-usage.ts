import type { CgroupUsage, Psi, PsiLine } from "../../ports/cgroups.ts";

/** `key value` lines (cpu.stat, memory.stat, memory.events). */
export function parseFlatKeyed(text: string | undefined): ReadonlyMap<string, bigint> {
  const values = new Map<string, bigint>();
  if (text === undefined) return values;
  for (const line of text.split("\n")) {
    const blank = line.indexOf(" ");
    if (blank > 0) values.set(line.slice(0, blank), BigInt(line.slice(blank + 1)));
  }
  return values;
}

/** A single number; undefined for `max` and for a missing file. */
export function parseNumber(text: string | undefined): bigint | undefined {
  const digits = text?.trim();
  return digits === undefined || !/^[0-9]+$/.test(digits) ? undefined : BigInt(digits);
}

/** A pressure file (Documentation/accounting/psi.rst); undefined without one. cpu's `full` line came with 5.13. */
export function parsePressure(text: string | undefined): Psi | undefined {
  if (text === undefined || text === "") return undefined;
  const lines = new Map<string, PsiLine>();
  for (const line of text.split("\n")) {
    const [name, ...fields] = line.split(" ");
    if (name !== "some" && name !== "full") continue;
    const values = new Map(fields.map((field) => field.split("=") as [string, string]));
    lines.set(name, {
      total: BigInt(values.get("total") ?? 0),
      avg10: Number(values.get("avg10") ?? 0),
      avg60: Number(values.get("avg60") ?? 0),
      avg300: Number(values.get("avg300") ?? 0),
    });
  }
  const none: PsiLine = { total: 0n, avg10: 0, avg60: 0, avg300: 0 };
  const some = lines.get("some");
  return some === undefined ? undefined : { some, full: lines.get("full") ?? none };
}

/** Contents of the files of one v2 group; undefined for those that are missing. */
export interface UsageFilesV2 {
  readonly cpuStat: string | undefined;
  readonly memoryCurrent: string | undefined;
  readonly memoryStat: string | undefined;
  readonly memoryMax: string | undefined;
  readonly swapCurrent: string | undefined;
  readonly swapMax: string | undefined;
  readonly pidsCurrent: string | undefined;
  readonly cpuPressure: string | undefined;
  readonly memoryPressure: string | undefined;
  readonly ioPressure: string | undefined;
}

export function usageV2(files: UsageFilesV2, timestamp: bigint): CgroupUsage {
  const cpu = parseFlatKeyed(files.cpuStat);
  const memory = parseFlatKeyed(files.memoryStat);
  const current = parseNumber(files.memoryCurrent) ?? 0n;
  return {
    timestamp,
    cpuTotal: (cpu.get("usage_usec") ?? 0n) * 1000n,
    memoryUsage: current,
    memoryWorkingSet: floor0(current - (memory.get("inactive_file") ?? 0n)),
    memoryRss: memory.get("anon") ?? 0n,
    memoryLimit: parseNumber(files.memoryMax),
    pageFaults: memory.get("pgfault") ?? 0n,
    majorPageFaults: memory.get("pgmajfault") ?? 0n,
    swapUsage: parseNumber(files.swapCurrent) ?? 0n,
    swapLimit: parseNumber(files.swapMax),
    processes: parseNumber(files.pidsCurrent) ?? 0n,
    psi: {
      cpu: parsePressure(files.cpuPressure),
      memory: parsePressure(files.memoryPressure),
      io: parsePressure(files.ioPressure),
    },
  };
}

/** Contents of the files of one group in several v1 hierarchies. */
export interface UsageFilesV1 {
  readonly cpuacctUsage: string | undefined;
  readonly memoryUsage: string | undefined;
  readonly memoryStat: string | undefined;
  readonly memoryLimit: string | undefined;
  readonly memswLimit: string | undefined;
  readonly pidsCurrent: string | undefined;
}

/** v1 writes "unlimited" as the largest page-aligned number. */
const unlimitedV1 = 0x7fff_ffff_ffff_0000n;

export function usageV1(files: UsageFilesV1, timestamp: bigint): CgroupUsage {
  const memory = parseFlatKeyed(files.memoryStat);
  const current = parseNumber(files.memoryUsage) ?? 0n;
  const limit = limited(parseNumber(files.memoryLimit));
  const memsw = limited(parseNumber(files.memswLimit));
  return {
    timestamp,
    cpuTotal: parseNumber(files.cpuacctUsage) ?? 0n,
    memoryUsage: current,
    memoryWorkingSet: floor0(current - (memory.get("total_inactive_file") ?? 0n)),
    memoryRss: memory.get("total_rss") ?? 0n,
    memoryLimit: limit,
    pageFaults: memory.get("total_pgfault") ?? 0n,
    majorPageFaults: memory.get("total_pgmajfault") ?? 0n,
    swapUsage: memory.get("total_swap") ?? 0n,
    swapLimit: memsw === undefined || limit === undefined ? undefined : floor0(memsw - limit),
    processes: parseNumber(files.pidsCurrent) ?? 0n,
    psi: { cpu: undefined, memory: undefined, io: undefined },
  };
}

function limited(value: bigint | undefined): bigint | undefined {
  return value === undefined || value >= unlimitedV1 ? undefined : value;
}

function floor0(value: bigint): bigint {
  return value < 0n ? 0n : value;
}
