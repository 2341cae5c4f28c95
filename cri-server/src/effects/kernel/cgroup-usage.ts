import type { CgroupUsage, Psi, PsiLine } from "../../ports/cgroups.ts";

/**
 * The value of one key in lines `key value` (cpu.stat, memory.stat, memory.events); 0 when it is not there. They are polled, and a
 * map of all their lines is not worth making.
 */
export function flatValue(text: string | undefined, key: string): bigint {
  if (text === undefined) return 0n;
  for (let at = text.indexOf(key); at >= 0; at = text.indexOf(key, at + 1)) {
    const end = at + key.length;
    if ((at > 0 && text[at - 1] !== "\n") || text[end] !== " ") continue;
    const stop = text.indexOf("\n", end);
    return BigInt(text.slice(end + 1, stop < 0 ? undefined : stop));
  }
  return 0n;
}

/** A single number; undefined for `max` and for a missing file. */
export function parseNumber(text: string | undefined): bigint | undefined {
  const digits = text?.trim();
  return digits === undefined || !/^[0-9]+$/.test(digits) ? undefined : BigInt(digits);
}

const lineOf = (name: string): RegExp =>
  new RegExp(`^${name} avg10=(\\S+) avg60=(\\S+) avg300=(\\S+) total=(\\d+)`, "m");
const someLine = lineOf("some");
const fullLine = lineOf("full");

/** A pressure file (Documentation/accounting/psi.rst); undefined without one. cpu's `full` line came with 5.13. */
export function parsePressure(text: string | undefined): Psi | undefined {
  const some = parseLine(someLine.exec(text ?? ""));
  const none: PsiLine = { total: 0n, avg10: 0, avg60: 0, avg300: 0 };
  return some === undefined ? undefined : { some, full: parseLine(fullLine.exec(text ?? "")) ?? none };
}

function parseLine(line: RegExpExecArray | null): PsiLine | undefined {
  if (line === null) return undefined;
  const [, avg10, avg60, avg300, total = "0"] = line;
  return { total: BigInt(total), avg10: Number(avg10), avg60: Number(avg60), avg300: Number(avg300) };
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
  const memory = files.memoryStat;
  const current = parseNumber(files.memoryCurrent) ?? 0n;
  return {
    timestamp,
    cpuTotal: flatValue(files.cpuStat, "usage_usec") * 1000n,
    memoryUsage: current,
    memoryWorkingSet: floor0(current - flatValue(memory, "inactive_file")),
    memoryRss: flatValue(memory, "anon"),
    memoryLimit: parseNumber(files.memoryMax),
    pageFaults: flatValue(memory, "pgfault"),
    majorPageFaults: flatValue(memory, "pgmajfault"),
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
  const memory = files.memoryStat;
  const current = parseNumber(files.memoryUsage) ?? 0n;
  const limit = limited(parseNumber(files.memoryLimit));
  const memsw = limited(parseNumber(files.memswLimit));
  return {
    timestamp,
    cpuTotal: parseNumber(files.cpuacctUsage) ?? 0n,
    memoryUsage: current,
    memoryWorkingSet: floor0(current - flatValue(memory, "total_inactive_file")),
    memoryRss: flatValue(memory, "total_rss"),
    memoryLimit: limit,
    pageFaults: flatValue(memory, "total_pgfault"),
    majorPageFaults: flatValue(memory, "total_pgmajfault"),
    swapUsage: flatValue(memory, "total_swap"),
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
