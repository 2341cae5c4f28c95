import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import type { NetConfig } from "../spec/config.ts";
import type { Call, PluginEnv } from "../spec/env.ts";
import { CniError, codes } from "../spec/errors.ts";
import { isObject } from "../spec/json.ts";

const timeoutMs = 60_000;

/** The plugin's executable in CNI_PATH. A type is a file name, never a path. */
async function findPlugin(type: string, path: readonly string[]): Promise<string> {
  if (type.includes("/")) throw new CniError(codes.invalidConfig, `ipam.type "${type}" is no file name`);
  for (const directory of path) {
    const candidate = join(directory, type);
    const found = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return candidate;
  }
  throw new CniError(codes.invalidConfig, `ipam.type "${type}" is in none of CNI_PATH ${path.join(":")}`);
}

interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function execute(file: string, env: PluginEnv, stdin: string): Promise<Ended> {
  // Few calls need it, and a lone call would load it in vain.
  const { spawn } = await import("node:child_process");
  return new Promise((resolve, reject) => {
    const child = spawn(file, [], {
      env: { ...env },
      stdio: "pipe",
      timeout: timeoutMs,
      killSignal: "SIGKILL",
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", reject);
    child.on("close", (code) =>
      resolve({
        exitCode: code ?? 128,
        stdout: Buffer.concat(out).toString("utf8"),
        stderr: Buffer.concat(err).toString("utf8"),
      }),
    );
    // A plugin may end without reading; its exit code says what is to be said.
    child.stdin.on("error", () => undefined);
    child.stdin.end(stdin);
  });
}

function parse(text: string): unknown {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Runs another IPAM plugin with the same environment and the whole configuration, as the specification has it. */
export async function delegate(
  type: string,
  call: Call,
  env: PluginEnv,
  config: NetConfig,
): Promise<unknown> {
  const file = await findPlugin(type, call.path);
  const { exitCode, stdout, stderr } = await execute(file, env, JSON.stringify(config.raw));
  const json = parse(stdout);
  if (exitCode === 0) return json;
  const message = isObject(json) && typeof json.msg === "string" ? json.msg : stderr.trim() || stdout.trim();
  const details = isObject(json) && typeof json.details === "string" ? json.details : "";
  throw new CniError(codes.io, `${type} ${call.command} failed (exit code ${exitCode}): ${message}`, {
    details,
  });
}
