import { parseConfig, requireVersion, versionOf } from "../spec/config.ts";
import type { Call, Command, PluginEnv } from "../spec/env.ts";
import { parseEnv } from "../spec/env.ts";
import { asCniError, errorJson } from "../spec/errors.ts";
import { presentResult } from "../spec/result.ts";
import type { CniVersion } from "../spec/versions.ts";
import { newestVersion, supportedVersions } from "../spec/versions.ts";
import { add } from "./add.ts";
import { check } from "./check.ts";
import type { Context, Request } from "./context.ts";
import { del } from "./del.ts";
import { gc } from "./gc.ts";
import { status } from "./status.ts";

export interface Printed {
  readonly exitCode: number;
  readonly stdout: Buffer;
}

function json(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, undefined, 4)}\n`);
}

/** The answer to VERSION, in the dialect of who asks. */
export function versionAnswer(stdin: Buffer): Buffer {
  return json({ cniVersion: versionOf(stdin) ?? newestVersion, supportedVersions });
}

type Action = (context: Context, request: Request) => Promise<Buffer>;

const silent =
  (action: (context: Context, request: Request) => Promise<void>): Action =>
  async (context, request) => {
    await action(context, request);
    return Buffer.alloc(0);
  };

interface Verb {
  readonly since: CniVersion;
  /** The configuration may have faults in what only ADD needs. */
  readonly lenient: boolean;
  readonly action: Action;
}

const verbs: Readonly<Record<Exclude<Command, "VERSION">, Verb>> = {
  ADD: {
    since: "0.1.0",
    lenient: false,
    action: async (context, request) =>
      json(presentResult(await add(context, request), request.config.cniVersion)),
  },
  DEL: { since: "0.1.0", lenient: true, action: silent(del) },
  CHECK: { since: "0.4.0", lenient: false, action: silent(check) },
  GC: { since: "1.1.0", lenient: true, action: silent(gc) },
  STATUS: { since: "1.1.0", lenient: false, action: silent(status) },
};

async function dispatch(
  context: () => Promise<Context>,
  call: Call,
  env: PluginEnv,
  stdin: Buffer,
  netnsFd: number | undefined,
): Promise<Buffer> {
  if (call.command === "VERSION") return versionAnswer(stdin);
  const verb = verbs[call.command];
  const config = parseConfig(stdin, call.args, verb.lenient);
  requireVersion(config, call.command, verb.since);
  return verb.action(await context(), { call, config, env, netnsFd });
}

/** One call from environment and standard input to what is printed. The context is made only for calls that pass. */
export async function runCall(
  context: () => Promise<Context>,
  env: PluginEnv,
  stdin: Buffer,
  netnsFd?: number,
): Promise<Printed> {
  try {
    return { exitCode: 0, stdout: await dispatch(context, parseEnv(env), env, stdin, netnsFd) };
  } catch (error) {
    return {
      exitCode: 1,
      stdout: Buffer.from(errorJson(asCniError(error), versionOf(stdin) ?? newestVersion)),
    };
  }
}
