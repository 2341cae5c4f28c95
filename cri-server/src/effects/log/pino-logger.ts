import { pino } from "pino";
import type { Config } from "../../config/config.ts";
import type { Logger } from "../../ports/logger.ts";

/**
 * JSON lines on stderr, written synchronously: pino's worker transports cost memory and can lose the last lines of a
 * process that ends.
 */
export function createLogger(level: Config["logLevel"]): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: pino.stdSerializers.errWithCause },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}
