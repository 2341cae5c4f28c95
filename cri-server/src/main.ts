import { existsSync } from "node:fs";
import { join } from "node:path";
import { check } from "./check.ts";
import { compose } from "./compose.ts";
import type { Config } from "./config/config.ts";
import { helpText } from "./config/help.ts";
import { loadConfig, parseCommandLine } from "./config/load.ts";
import { berthVersion } from "./config/version.ts";
import { giveBackMemory } from "./effects/kernel/free-memory.ts";
import { createLogger } from "./effects/log/pino-logger.ts";
import { keepWatchdog, notifySystemd } from "./effects/notify.ts";
import { BerthError } from "./errors/berth-error.ts";

/** Exit codes: sysexits' EX_USAGE for a command line or file that can't be meant. */
const usageError = 64;
const failure = 1;

/** Where the native programs are: beside the bundle, or in the build folder of a source tree. */
function installDir(): string {
  const candidates = [
    join(import.meta.dirname, "native"),
    join(import.meta.dirname, "../native/build"),
    join(import.meta.dirname, "../../native/build"),
  ];
  return candidates.find((path) => existsSync(join(path, "berth-native"))) ?? "/usr/lib/berth";
}

async function serve(config: Config): Promise<void> {
  const log = createLogger(config.logLevel);
  process.on("unhandledRejection", (error) => {
    log.error({ err: error }, "a promise was rejected and nobody handled it");
  });
  process.on("uncaughtException", (error) => {
    log.error({ err: error }, "ending after an unforeseen error; pods live on");
    process.exit(failure);
  });
  const server = await compose(config, log);
  let isStopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (isStopping) {
      return;
    }
    isStopping = true;
    log.info({ signal }, "stopping; pods live on");
    notifySystemd("STOPPING=1", log);
    server.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, "stopping failed");
        process.exit(failure);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.stdout.write("ready\n");
  notifySystemd("READY=1", log);
  keepWatchdog(log);
  giveBackMemory();
  log.info({ socket: config.socket, version: berthVersion }, "serving");
}

async function main(): Promise<void> {
  const commandLine = parseCommandLine(process.argv.slice(2));
  switch (commandLine.verb) {
    case "help":
      process.stdout.write(helpText());
      return;
    case "version":
      process.stdout.write(`berthd ${berthVersion}\n`);
      return;
    case "check": {
      const config = await loadConfig(commandLine, installDir());
      process.exitCode = await check(config, (line) => process.stdout.write(`${line}\n`));
      return;
    }
    case "serve":
      await serve(await loadConfig(commandLine, installDir()));
  }
}

main().catch((error: unknown) => {
  const isMeant = error instanceof BerthError;
  process.stderr.write(`berthd: ${isMeant ? error.message : String(error)}\n`);
  if (error instanceof Error && (!isMeant || error.cause !== undefined)) {
    process.stderr.write(`${error.cause instanceof Error ? error.cause.stack : error.stack}\n`);
  }
  process.exit(isMeant && error.code === "invalid-argument" ? usageError : failure);
});
