import type { Explanation } from "../model/explanation.ts";
import type { AdminClient } from "./admin-client.ts";
import { containerPage } from "./container-page.ts";
import { UsageError } from "./image.ts";
import { podPage } from "./pod-page.ts";

export const explainHelp = `berth explain [--json] SUBJECT    everything about a pod or container on one page

  SUBJECT is an id, its first digits, NAMESPACE/POD, POD, POD/CONTAINER, NAMESPACE/POD/CONTAINER or CONTAINER; of several
  attempts the newest. Exit code 2: something is not as it should be.
`;

/** Exit code when the page shows a problem. */
const problemsFound = 2;

/** Runs `berth explain WORDS`. Resolves with the exit code. */
export async function runExplain(client: AdminClient, words: readonly string[]): Promise<number> {
  const isJson = words.includes("--json");
  const [subject, ...more] = words.filter((word) => word !== "--json");
  if (subject === undefined || more.length > 0 || subject.startsWith("-")) {
    throw new UsageError("explain needs exactly one SUBJECT");
  }
  let hasProblems = false;
  for await (const explanation of client.ask<Explanation>("/explain", { subject })) {
    const page = isJson ? JSON.stringify(explanation, null, 2) : pageOf(explanation, new Date());
    process.stdout.write(`${page}\n`);
    hasProblems = [explanation.pod, ...explanation.containers].some(({ problems }) => problems.length > 0);
  }
  return hasProblems ? problemsFound : 0;
}

function pageOf({ subject, pod, containers }: Explanation, now: Date): string {
  const [container] = containers;
  return subject === "container" && container !== undefined
    ? containerPage(pod, container, now)
    : podPage(pod, containers, now);
}
