import { globSync, readdirSync, readFileSync } from "node:fs";

/** Of processes: those that were started by a run of hack/test, wherever they are now. */
function processes(run: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
      const words = readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").join(" ").trim();
      if (environment.includes(`${runMark}=${run}\0`)) found.push(`process ${pid} ${words}`);
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

/** Set for everything that hack/test starts. */
export const runMark = "BERTH_TEST_RUN";

/** What on this machine, outside every test's own namespaces, has a mark or a name that this run gave it. */
export function leftovers(run: string): Set<string> {
  return new Set([
    ...globSync(`/sys/fs/cgroup/{*/,}berth-test-${run}-*`).map((path) => `cgroup ${path}`),
    ...processes(run),
  ]);
}
