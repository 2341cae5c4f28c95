import { status } from "@grpc/grpc-js";
import { BerthError } from "../../errors/berth-error.ts";

export type FailureLevel = "debug" | "info" | "warn" | "error";

/** What the client could have known: the call is answered as it deserves, and nothing is wrong with this server. */
const clientMistakes: ReadonlySet<number> = new Set([
  status.CANCELLED,
  status.INVALID_ARGUMENT,
  status.DEADLINE_EXCEEDED,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.FAILED_PRECONDITION,
  status.UNIMPLEMENTED,
]);

/** What passes, or what an operator can do something about; no code of ours is at fault. */
const strain: ReadonlySet<number> = new Set([status.RESOURCE_EXHAUSTED, status.UNAVAILABLE]);

/**
 * How loud the log is about a call that failed. A kubelet asks for the status of containers that are gone all day long, so
 * a client's mistake is no warning, and in a polling call (`isQuiet`) not even news.
 */
export function failureLevel(code: number, isQuiet: boolean): FailureLevel {
  if (clientMistakes.has(code)) {
    return isQuiet ? "debug" : "info";
  }
  return strain.has(code) ? "warn" : "error";
}

/**
 * The fields of the line: of our own faults the error as it is, from which the log makes stacks and the chain of causes; of
 * others only the words of what caused them.
 */
export function failureFields(error: unknown, level: FailureLevel): object {
  if (level === "error" || !(error instanceof BerthError)) {
    return { err: error };
  }
  const causes = causesOf(error);
  return { error: error.code, ...(causes.length === 0 ? {} : { causes }) };
}

function causesOf(error: Error): readonly string[] {
  const found: string[] = [];
  // Bounded: nothing keeps a chain from being a ring.
  for (let { cause } = error; cause !== undefined && found.length < 8; ) {
    found.push(cause instanceof Error ? cause.message : String(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return found;
}
