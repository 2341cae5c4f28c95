import { posix } from "node:path";

/**
 * The path of a log as the monitor gets it; "" writes none. It follows links before the double slash and none after it: the
 * log directory and what is in it are open to every container with a hostPath of /var/log.
 */
export function confinedLogPath(logDirectory: string, logPath: string): string {
  if (logDirectory === "" || logPath === "") return "";
  const directory = posix.join(logDirectory, ".").replace(/(.)\/$/, "$1");
  const parent = posix.dirname(directory);
  const below = posix.join(posix.basename(directory), logPath);
  return parent === "/" ? `//${below}` : `${parent}//${below}`;
}
