import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** How one part ended. */
export interface Counts {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

type Tally = Pick<Counts, "passed" | "failed" | "skipped">;

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly numFailedTestSuites: number;
}

function ofVitest(text: string): Tally {
  const report = JSON.parse(text) as VitestReport;
  // A file that does not load has no tests, and counts as one that failed.
  const failed = Math.max(report.numFailedTests, report.numFailedTestSuites > 0 ? 1 : 0);
  return { passed: report.numPassedTests, failed, skipped: report.numPendingTests + report.numTodoTests };
}

/**
 * What the reports of a part say; a part without one counts as a single test. A part whose command failed has failed,
 * whatever its report says: the tests may all have passed and something been left.
 */
export function countsOf(folder: string, name: string, ok: boolean, seconds: number): Counts {
  const vitest = join(folder, `${name}.vitest.json`);
  const counts = join(folder, `${name}.counts.json`);
  const reports: Tally[] = [];
  if (existsSync(vitest)) reports.push(ofVitest(readFileSync(vitest, "utf8")));
  if (existsSync(counts)) reports.push(JSON.parse(readFileSync(counts, "utf8")) as Tally);
  if (reports.length === 0) reports.push({ passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 });
  const tally = total(reports);
  const failed = !ok && tally.failed === 0 ? 1 : tally.failed;
  return { name, ...tally, failed, seconds };
}

export function total(rows: readonly Tally[]): Tally {
  const sum = (pick: (row: Tally) => number): number => rows.reduce((before, row) => before + pick(row), 0);
  return {
    passed: sum((row) => row.passed),
    failed: sum((row) => row.failed),
    skipped: sum((row) => row.skipped),
  };
}

export function table(rows: readonly Counts[]): string {
  const lines = [["part", "passed", "failed", "skipped", "seconds"]];
  for (const row of rows) {
    lines.push([
      row.name,
      String(row.passed),
      String(row.failed),
      String(row.skipped),
      row.seconds.toFixed(0),
    ]);
  }
  return lines
    .map(([name = "", ...cells]) => name.padEnd(14) + cells.map((cell) => cell.padStart(9)).join(""))
    .join("\n");
}
