import { globSync, readdirSync, readFileSync } from "node:fs";

function lines(path: string): string[] {
  return readFileSync(path, "utf8").trim().split("\n");
}

/** Of processes: those that were started by a run of hack/test, wherever they are now. */
function processes(): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
      const words = readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").join(" ").trim();
      if (environment.includes(`${runMark}=`)) found.push(`process ${pid} ${words}`);
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

/** Set for everything that hack/test starts. */
export const runMark = "BERTH_TEST_RUN";

/** What on this machine, outside every test's own namespaces, has a name that a test gave it. */
export function leftovers(): Set<string> {
  return new Set([
    ...lines("/proc/self/mountinfo")
      .map((line) => `mount ${line.split(" ")[4]}`)
      .filter((line) => line.includes("/tmp/berth-")),
    ...lines("/proc/net/dev")
      .map((line) => `link ${line.split(":")[0]?.trim()}`)
      .filter((line) => /^link berth[0-9a-f]{6}$/.test(line)),
    ...globSync("/sys/fs/cgroup/{*/,}{berth-test-,cribench}*").map((path) => `cgroup ${path}`),
    ...globSync(["/run/berth*", "/tmp/berth-*", "/tmp/critest-*", "/tmp/demo-*"]).map(
      (path) => `file ${path}`,
    ),
    ...processes(),
  ]);
}
