import { parseConfig, requireVersion, versionOf } from "../spec/config.ts";
import type { Call, Command, PluginEnv } from "../spec/env.ts";
import { parseEnv, requireArgs } from "../spec/env.ts";
import { asCniError, errorJson } from "../spec/errors.ts";
import type { Result } from "../spec/result.ts";
import { presentResult } from "../spec/result.ts";
import type { Role } from "../spec/role.ts";
import { roleOf } from "../spec/role.ts";
import type { CniVersion } from "../spec/versions.ts";
import { newestVersion, supportedVersions } from "../spec/versions.ts";
import { add } from "./add.ts";
import { addToChain, checkInChain, delFromChain } from "./adjust.ts";
import { check } from "./check.ts";
import type { Context, Request } from "./context.ts";
import { del } from "./del.ts";
import { gc } from "./gc.ts";
import { addLeases, checkLeaseExists, delLeases } from "./lease-only.ts";
import { addLoopback, checkLoopback, delLoopback } from "./loopback.ts";
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

type Action<T> = (context: Context, request: Request) => Promise<T>;

interface Verb {
  readonly since: CniVersion;
  /** The configuration may have faults in what only ADD needs. */
  readonly lenient: boolean;
}

const verbs: Readonly<Record<Exclude<Command, "VERSION">, Verb>> = {
  ADD: { since: "0.1.0", lenient: false },
  DEL: { since: "0.1.0", lenient: true },
  CHECK: { since: "0.4.0", lenient: false },
  GC: { since: "1.1.0", lenient: true },
  STATUS: { since: "1.1.0", lenient: false },
};

interface Actions {
  readonly ADD: Action<Result>;
  readonly DEL: Action<void>;
  readonly CHECK: Action<void>;
}

const nothing = (): Promise<void> => Promise.resolve();

const actions: Readonly<Record<Role, Actions>> = {
  attach: { ADD: add, DEL: del, CHECK: check },
  adjust: { ADD: addToChain, DEL: delFromChain, CHECK: checkInChain },
  addresses: { ADD: addLeases, DEL: delLeases, CHECK: checkLeaseExists },
  loopback: { ADD: addLoopback, DEL: delLoopback, CHECK: checkLoopback },
};

/** GC and STATUS look at what a network has, whatever this plugin's part in it is; a loopback has nothing. */
async function runVerb(context: Context, request: Request): Promise<Buffer> {
  const { call, config, env } = request;
  const role = roleOf(config, env.BERTH_CNI_NAME ?? "");
  const { ADD, DEL, CHECK } = actions[role];
  switch (call.command) {
    case "ADD":
      if (role !== "loopback" && role !== "adjust") requireArgs(env.CNI_ARGS ?? "");
      return json(presentResult(await ADD(context, request), config.cniVersion));
    case "DEL":
      await DEL(context, request);
      break;
    case "CHECK":
      await CHECK(context, request);
      break;
    case "GC":
      await (role === "loopback" ? nothing() : gc(context, request));
      break;
    case "STATUS":
      await (role === "loopback" ? nothing() : status(context, request));
      break;
    case "VERSION":
      break;
  }
  return Buffer.alloc(0);
}

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
  return runVerb(await context(), { call, config, env, netnsFd });
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
