import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { BerthError } from "../../errors/berth-error.ts";
import type { MonitorHost } from "../../ports/monitor.ts";

/** Where the packages of the distributions put the compiler of profiles. */
const parsers = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];

/** Compiles a profile and loads it into the kernel, in place of one that has its name. */
export async function loadApparmorProfile(host: Pick<MonitorHost, "run">, text: string): Promise<void> {
  const path = await firstExecutable(parsers);
  if (path === undefined) {
    throw new BerthError("internal", `no apparmor_parser in ${parsers.join(", ")}: install package apparmor`);
  }
  const outcome = await host.run({
    path,
    // The cache of compiled profiles is keyed by file, and this has none.
    args: ["--skip-cache", "--replace"],
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    stdin: Buffer.from(text),
    timeoutMs: 60_000,
  });
  if (outcome.exitCode !== 0 || outcome.timedOut) {
    const said = outcome.stderr.toString().trim();
    throw new BerthError(
      "internal",
      `${path} ${outcome.timedOut ? "took a minute" : `ended with ${outcome.exitCode}`}: ${said}`,
    );
  }
}

async function firstExecutable(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}
