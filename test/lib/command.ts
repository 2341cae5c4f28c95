import { execFile } from "node:child_process";

/** How a program ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly input?: string;
  /** Milliseconds; default one minute. */
  readonly timeout?: number;
}

/** Runs a program to its end; any exit code is an answer, only a program that cannot be started throws. */
export function outcomeOf(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
  const child = execFile(
    file,
    args,
    { env: options.env, cwd: options.cwd, timeout: options.timeout ?? 60_000, maxBuffer: 256 << 20 },
    (error, stdout, stderr) => {
      if (error !== null && typeof error.code === "string") reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code ?? 128), stdout, stderr });
    },
  );
  // A program need not read what it is given; how it ends says whether that was right.
  child.stdin?.on("error", () => {});
  child.stdin?.end(options.input ?? "");
  return promise;
}

/** The same, for a program that has to succeed: resolves with its standard output. */
export async function run(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await outcomeOf(file, args, options);
  if (code !== 0)
    throw new Error(`${file} ${args.join(" ")} ended with ${code}: ${stderr.trim() || stdout.trim()}`);
  return stdout;
}
