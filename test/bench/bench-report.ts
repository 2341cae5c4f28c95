/** One line of cribench. */
export interface Measurement {
  readonly suite: string;
  readonly op: string;
  readonly name: string;
  readonly p50_ms?: number;
  readonly p95_ms?: number;
  readonly per_s?: number;
}

/** What each figure has to be: so many times faster than the peer, and so many milliseconds at p50 on idle processors. */
interface Bar {
  readonly ratio?: number;
  readonly mostV1?: number;
  readonly mostV2?: number;
}

/** On v1 the kernel alone takes 11-15 ms to move a process into its groups; on v2 a process is born there. */
const bars: Readonly<Record<string, Bar>> = {
  "lifecycle RunPodSandbox": { mostV1: 25, mostV2: 25 },
  "lifecycle create + start": { mostV1: 25, mostV2: 12 },
  "lifecycle ExecSync": { ratio: 5, mostV1: 15, mostV2: 5 },
  "lifecycle stop + remove container": { mostV1: 20, mostV2: 20 },
  "lifecycle stop + remove sandbox": { mostV1: 25, mostV2: 25 },
  "lifecycle up": { ratio: 6 },
  "lifecycle whole": { ratio: 6 },
  "exec concurrency 8": { ratio: 5 },
};

function judge(bar: Bar | undefined, ours: number, theirs: number, cgroupVersion: 1 | 2): string {
  const verdicts: string[] = [];
  if (bar?.ratio !== undefined && !Number.isNaN(theirs)) {
    verdicts.push(`${theirs / ours >= bar.ratio ? "meets" : "MISSES"} ${bar.ratio}x`);
  }
  const most = cgroupVersion === 1 ? bar?.mostV1 : bar?.mostV2;
  if (most !== undefined) verdicts.push(`${ours <= most ? "meets" : "MISSES"} ${most} ms`);
  return verdicts.join(", ");
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}

function pad(cells: readonly string[]): string {
  const [first = "", ...rest] = cells;
  return first.padEnd(36) + rest.map((cell) => cell.padStart(12)).join("");
}

/** The median over the rounds of each round's figure, for both, and their ratio. */
export function report(measured: readonly Measurement[], cgroupVersion: 1 | 2): string {
  const lines = [pad(["", "berth p50", "p95", "peer p50", "p95", "ratio", "bar"])];
  for (const key of new Set(measured.map(({ suite, op }) => `${suite} ${op}`))) {
    const figure = (name: string, pick: (line: Measurement) => number | undefined): number =>
      median(
        measured.flatMap((line) => {
          const value = pick(line);
          return line.name === name && `${line.suite} ${line.op}` === key && value !== undefined
            ? [value]
            : [];
        }),
      );
    const ours = figure("berth", (line) => line.p50_ms);
    const theirs = figure("containerd", (line) => line.p50_ms);
    const shown = (value: number, digits = 2): string => (Number.isNaN(value) ? "-" : value.toFixed(digits));
    lines.push(
      pad([
        key,
        shown(ours),
        shown(figure("berth", (line) => line.p95_ms)),
        shown(theirs),
        shown(figure("containerd", (line) => line.p95_ms)),
        shown(theirs / ours, 1),
        `  ${judge(bars[key], ours, theirs, cgroupVersion)}`,
      ]),
    );
    const rate = figure("berth", (line) => line.per_s);
    if (!Number.isNaN(rate))
      lines.push(
        pad([
          "  per second",
          shown(rate, 0),
          "",
          shown(
            figure("containerd", (line) => line.per_s),
            0,
          ),
        ]),
      );
  }
  return lines.join("\n");
}

/** A call's debug line: milliseconds by step. */
interface StepsLine {
  readonly msg: string;
  readonly steps: Readonly<Record<string, number>>;
}

/** Where the server's time goes: p50 and p95 of each step, in the order in which they are taken. */
export function stepTable(log: string): string {
  const steps = new Map<string, number[]>();
  for (const text of log.split("\n")) {
    if (!text.includes('"steps":{')) continue;
    const line = JSON.parse(text) as StepsLine;
    for (const [step, ms] of Object.entries(line.steps)) {
      const key = `${line.msg}: ${step}`;
      steps.set(key, [...(steps.get(key) ?? []), ms]);
    }
  }
  const lines = [pad(["step", "p50 ms", "p95 ms", "n"])];
  for (const [name, times] of steps) {
    const sorted = times.sort((a, b) => a - b);
    const p95 = sorted[Math.ceil(0.95 * sorted.length) - 1] ?? Number.NaN;
    lines.push(pad([name, median(sorted).toFixed(2), p95.toFixed(2), String(sorted.length)]));
  }
  return lines.join("\n");
}
