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

/** A ginkgo report, as critest writes it: what was not selected by a focus has no message. */
interface GinkgoReport {
  readonly SpecReports: readonly {
    readonly LeafNodeType: string;
    readonly State: string;
    readonly Failure?: { readonly Message?: string };
  }[];
}

function ofVitest(text: string): Tally {
  const report = JSON.parse(text) as VitestReport;
  // A file that does not load has no tests, and counts as one that failed.
  const failed = Math.max(report.numFailedTests, report.numFailedTestSuites > 0 ? 1 : 0);
  return { passed: report.numPassedTests, failed, skipped: report.numPendingTests + report.numTodoTests };
}

function ofGinkgo(text: string): Tally {
  const [report] = JSON.parse(text) as GinkgoReport[];
  const specs = (report?.SpecReports ?? []).filter(({ LeafNodeType }) => LeafNodeType === "It");
  const passed = specs.filter(({ State }) => State === "passed").length;
  const skipped = specs.filter(
    ({ State, Failure }) => State === "skipped" && Failure?.Message !== undefined,
  ).length;
  const failed = specs.filter(
    ({ State }) => State !== "passed" && State !== "skipped" && State !== "pending",
  ).length;
  return { passed, failed, skipped };
}

/**
 * What the reports of a part say; a part without one counts as a single test. A part whose command failed has failed,
 * whatever its report says: the tests may all have passed and something been left.
 */
export function countsOf(folder: string, name: string, ok: boolean, seconds: number): Counts {
  const vitest = join(folder, `${name}.vitest.json`);
  const ginkgo = join(folder, `${name}.critest.json`);
  let tally: Tally = { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 };
  if (existsSync(vitest)) tally = ofVitest(readFileSync(vitest, "utf8"));
  else if (existsSync(ginkgo)) tally = ofGinkgo(readFileSync(ginkgo, "utf8"));
  const failed = !ok && tally.failed === 0 ? 1 : tally.failed;
  return { name, ...tally, failed, seconds };
}

export function total(rows: readonly Counts[]): Tally {
  const sum = (pick: (row: Counts) => number): number => rows.reduce((before, row) => before + pick(row), 0);
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
