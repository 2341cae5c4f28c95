import { globSync, readdirSync, readFileSync } from "node:fs";

function lines(path: string): string[] {
  return readFileSync(path, "utf8").trim().split("\n");
}

/** Of processes: those of the programs that we build, wherever they were started from. */
function processes(): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    let words = "";
    try {
      words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
    } catch {
      continue; // it has ended meanwhile
    }
    if (/\b(berth-native|berthd|docker-registry|linux\.uml)\b/.test(words))
      found.push(`process ${pid} ${words}`);
  }
  return found;
}

/** What on this machine, outside every test's own namespaces, has a name of ours. */
export function leftovers(): Set<string> {
  return new Set([
    ...lines("/proc/self/mountinfo")
      .filter((line) => line.includes("berth"))
      .map((line) => `mount ${line.split(" ")[4]}`),
    ...lines("/proc/net/dev")
      .filter((line) => line.includes("berth"))
      .map((line) => `link ${line.split(":")[0]?.trim()}`),
    ...globSync("/sys/fs/cgroup/{*/,}berth*").map((path) => `cgroup ${path}`),
    ...globSync(["/run/berth*", "/run/netns/*berth*", "/tmp/berth-*"]).map((path) => `file ${path}`),
    ...processes(),
  ]);
}
