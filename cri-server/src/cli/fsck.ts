import type { FindingOutcome } from "../model/finding.ts";
import type { AdminClient } from "./admin-client.ts";
import { UsageError } from "./image.ts";

export const fsckHelp = `berth fsck [--repair] [--json]      compare records, kernel and store, and list what does not agree

  Changes nothing without --repair. Exit code 2: something is left that is not as it should be. What the host lacks says
  \`berthd check\`; whether images are whole, \`berth image verify\`.
`;

/** Exit code when something is left. */
const findingsLeft = 2;

/** Runs `berth fsck WORDS`. Resolves with the exit code. */
export async function runFsck(client: AdminClient, words: readonly string[]): Promise<number> {
  const unknown = words.find((word) => word !== "--repair" && word !== "--json");
  if (unknown !== undefined) {
    throw new UsageError(`fsck: ${JSON.stringify(unknown)} is not understood`);
  }
  const findings: FindingOutcome[] = [];
  for await (const finding of client.ask<FindingOutcome>("/fsck", { repair: words.includes("--repair") })) {
    findings.push(finding);
  }
  const isJson = words.includes("--json");
  process.stdout.write(isJson ? `${JSON.stringify(findings, null, 2)}\n` : showFindings(findings));
  return findings.every(({ outcome }) => outcome === "repaired") ? 0 : findingsLeft;
}

/** A finding in three lines, and a sum. */
export function showFindings(findings: readonly FindingOutcome[]): string {
  const lines = findings.flatMap((finding) => [
    `${finding.kind}: ${finding.subject}`,
    `  ${finding.what}`,
    `  ${fateOf(finding)}`,
  ]);
  const repaired = findings.filter(({ outcome }) => outcome === "repaired").length;
  const sum =
    findings.length === 0
      ? "records, kernel and store agree"
      : `${findings.length} found, ${repaired} repaired, ${findings.length - repaired} left`;
  return `${[...lines, sum].join("\n")}\n`;
}

function fateOf({ outcome, remedy, failure }: FindingOutcome): string {
  switch (outcome) {
    case "repairable":
      return `--repair ${remedy}`;
    case "manual":
      return `by hand: ${remedy}`;
    case "repaired":
      return `repaired: ${remedy}`;
    case "failed":
      return `not repaired (${remedy}): ${failure ?? "nobody knows why"}`;
  }
}
