import type { RetryQueue } from "../../lib/retry-queue.ts";
import type { PendingWork } from "../../model/explanation.ts";

/** Work behind answers that is about this object. */
export function pendingOf(
  background: Pick<RetryQueue, "pending" | "failing">,
  id: string,
): readonly PendingWork[] {
  const failing = new Map(background.failing().map((task) => [task.key, task]));
  return background
    .pending()
    .filter((key) => key.endsWith(` ${id}`))
    .map((key) => {
      const task = failing.get(key);
      if (task === undefined) {
        return { key, failures: 0 };
      }
      const error = task.error instanceof Error ? task.error.message : String(task.error);
      return { key, failures: task.attempts, since: new Date(task.since).toISOString(), error };
    });
}

/** What of it is a problem: what has failed. */
export function pendingProblems(pending: readonly PendingWork[]): readonly string[] {
  return pending
    .filter(({ failures }) => failures > 0)
    .map(({ key, failures, error }) => `"${key.split(" ")[0]}" has failed ${failures} times: ${error}`);
}
