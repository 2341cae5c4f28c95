import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { PullAuth } from "../../ports/images.ts";
import type { MonitorHost } from "../../ports/monitor.ts";
import { parseHelperAnswer } from "./auth-file.ts";

const timeoutMs = 30_000;

/** Runs `docker-credential-NAME get` as Docker does: the server's name on standard input, JSON on standard output. */
export async function askHelper(
  run: MonitorHost["run"],
  name: string,
  server: string,
): Promise<PullAuth | undefined> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    throw new BerthError(
      "pull-failed",
      `credential helper ${JSON.stringify(name)}: not the name of a program`,
    );
  }
  const path = await find(`docker-credential-${name}`);
  const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "/root" };
  const outcome = await run({ path, args: ["get"], env, stdin: Buffer.from(server), timeoutMs });
  const said = outcome.stdout.toString("utf8");
  if (outcome.exitCode === 0 && !outcome.timedOut) {
    try {
      return parseHelperAnswer(said);
    } catch (cause) {
      throw new BerthError("pull-failed", `credential helper ${name}: its answer is not JSON`, { cause });
    }
  }
  if (said.includes("credentials not found")) {
    return undefined;
  }
  const how = outcome.timedOut ? `no answer within ${timeoutMs / 1000} s` : `exit code ${outcome.exitCode}`;
  throw new BerthError("pull-failed", `credential helper ${name}: ${how} for ${server}`, {
    cause: new Error(outcome.stderr.toString("utf8").slice(0, 1000)),
  });
}

async function find(program: string): Promise<string> {
  for (const directory of (process.env.PATH ?? "/usr/local/bin:/usr/bin:/bin").split(":")) {
    const path = join(directory, program);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) {
      return path;
    }
  }
  throw new BerthError("pull-failed", `${program} is not in PATH`);
}
