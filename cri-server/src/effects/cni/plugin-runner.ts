import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { PluginCall, PluginOutcome, PluginRunner } from "../../ports/cni.ts";
import type { MonitorHost } from "../../ports/monitor.ts";

/** A plugin whose code runs in this process: environment and standard input in, exit code and output out. */
export type InProcessPlugin = (
  env: Readonly<Record<string, string>>,
  stdin: Buffer,
) => Promise<{ readonly exitCode: number; readonly stdout: Buffer }>;

export interface PluginRunnerDeps {
  readonly host: Pick<MonitorHost, "run">;
  /** In the order of search. */
  readonly binDirs: readonly string[];
  readonly inProcess: ReadonlyMap<string, InProcessPlugin>;
  /** What plugins inherit; PATH is replaced when it is missing, because several of them run iptables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const fallbackPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** What a plugin may need of our environment. All of it would hand our own interpreter's settings on. */
const inherited = [
  "PATH",
  "HOME",
  "LANG",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
  "KUBECONFIG",
  "TRACEPARENT",
  "TRACESTATE",
];

/** An installer that is still writing the program makes execve fail with ETXTBSY; it is done in a moment. */
const busyRetries = 5;
const busyDelayMs = 1000;

function isBusy(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause.message.includes("ETXTBSY") || cause.message.includes("Text file busy")) {
      return true;
    }
  }
  return false;
}

export function createPluginRunner(deps: PluginRunnerDeps): PluginRunner {
  return new Runner(deps);
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    // Whatever the reason, it is no program that we can run; the caller says where we have looked.
    return false;
  }
}

class Runner implements PluginRunner {
  readonly searched: readonly string[];
  readonly #deps: PluginRunnerDeps;
  readonly #base: Readonly<Record<string, string>>;
  /** Where each type was found last. */
  readonly #found = new Map<string, string>();

  constructor(deps: PluginRunnerDeps) {
    this.#deps = deps;
    this.searched = deps.binDirs;
    const base: Record<string, string> = { PATH: fallbackPath, CNI_PATH: deps.binDirs.join(":") };
    for (const name of inherited) {
      const value = deps.environment[name];
      if (value !== undefined && value !== "") {
        base[name] = value;
      }
    }
    this.#base = base;
  }

  async run(call: PluginCall, signal?: AbortSignal): Promise<PluginOutcome> {
    signal?.throwIfAborted();
    const plugin = this.#deps.inProcess.get(call.type);
    if (plugin === undefined) {
      return await this.#execute(call, signal);
    }
    // It can't be killed, so it is waited for: to go on while it still works would let DEL run beside ADD.
    const { exitCode, stdout } = await plugin({ ...this.#base, ...call.env }, call.stdin);
    return { exitCode, stdout, stderr: Buffer.alloc(0), timedOut: false };
  }

  async missing(types: readonly string[]): Promise<readonly string[]> {
    const wanted = [...new Set(types)].filter((type) => !this.#deps.inProcess.has(type));
    const paths = await Promise.all(wanted.map((type) => this.#locate(type)));
    return wanted.filter((_, index) => paths[index] === undefined);
  }

  async #locate(type: string): Promise<string | undefined> {
    const known = this.#found.get(type);
    if (known !== undefined && (await isProgram(known))) {
      return known;
    }
    for (const path of this.#deps.binDirs.map((directory) => join(directory, type))) {
      if (await isProgram(path)) {
        this.#found.set(type, path);
        return path;
      }
    }
    return undefined;
  }

  async #execute(call: PluginCall, signal: AbortSignal | undefined): Promise<PluginOutcome> {
    const path = await this.#locate(call.type);
    if (path === undefined) {
      const where = this.searched.join(", ");
      throw new BerthError("network-failed", `CNI plugin ${call.type} is in none of ${where}`);
    }
    const env = { ...this.#base, ...call.env };
    const request = { path, args: [], env, stdin: call.stdin, timeoutMs: call.timeoutMs };
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#deps.host.run(request, signal);
      } catch (error) {
        if (attempt > busyRetries || !isBusy(error)) {
          throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, busyDelayMs));
      }
    }
  }
}
