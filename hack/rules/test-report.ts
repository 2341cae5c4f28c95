import { existsSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { stripVTControlCharacters } from "node:util";

const longestLine = 500;

/** How one part ended. */
export interface Counts {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  /** What failed and why, one line each: a log of many parts is long, and may be kept by its end only. */
  readonly failures: readonly string[];
}

type Tally = Pick<Counts, "passed" | "failed" | "skipped">;

/** What a part that counts by itself writes. */
export type CountedReport = Tally & { readonly failures: readonly string[] };

interface VitestTest {
  readonly status: string;
  readonly fullName: string;
  readonly failureMessages: readonly string[];
}

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly numFailedTestSuites: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    /** Why the file did not load. */
    readonly message: string;
    readonly assertionResults: readonly VitestTest[];
  }[];
}

/** An error without the terminal's colours and without its stack, as one line. */
function inOneLine(message: string): string {
  const [words = ""] = stripVTControlCharacters(message).split(/\n\s+at /, 1);
  return words.trim().replaceAll(/\s+/g, " ").slice(0, longestLine);
}

function failuresOf({ testResults }: VitestReport): string[] {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === "failed");
    const file = relative(process.cwd(), name);
    if (failed.length === 0)
      return status === "failed"
        ? [`${file}: ${inOneLine(message) || "what comes before or after its tests"}`]
        : [];
    return failed.map(
      ({ fullName, failureMessages }) => `${file}: ${fullName}: ${inOneLine(failureMessages[0] ?? "")}`,
    );
  });
}

function ofVitest(text: string): CountedReport {
  const report = JSON.parse(text) as VitestReport;
  // A file that does not load has no tests, and counts as one that failed.
  const failed = Math.max(report.numFailedTests, report.numFailedTestSuites > 0 ? 1 : 0);
  const skipped = report.numPendingTests + report.numTodoTests;
  return { passed: report.numPassedTests, failed, skipped, failures: failuresOf(report) };
}

/**
 * What the reports of a part say; a part without one counts as a single test. A part whose command failed has failed,
 * whatever its report says: the tests may all have passed and something been left.
 */
export function countsOf(folder: string, name: string, ok: boolean, seconds: number): Counts {
  const vitest = join(folder, `${name}.vitest.json`);
  const counts = join(folder, `${name}.counts.json`);
  const reports: CountedReport[] = [];
  if (existsSync(vitest)) reports.push(ofVitest(readFileSync(vitest, "utf8")));
  if (existsSync(counts)) reports.push(JSON.parse(readFileSync(counts, "utf8")) as CountedReport);
  if (reports.length === 0) reports.push({ passed: ok ? 1 : 0, failed: 0, skipped: 0, failures: [] });
  const tally = total(reports);
  const failures = reports.flatMap((report) => report.failures);
  if (ok || tally.failed > 0) return { name, ...tally, failures, seconds };
  return { name, ...tally, failed: 1, failures: ["a command ended with an error"], seconds };
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

/** The failures of all parts, a line each. */
export function failuresList(rows: readonly Counts[]): string {
  return rows.flatMap(({ name, failures }) => failures.map((failure) => `${name}: ${failure}\n`)).join("");
}
