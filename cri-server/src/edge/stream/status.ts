import type { SessionOutcome } from "../../domain/stream/session.ts";

/**
 * The outcome on the error stream, since v4: a Kubernetes Status object in JSON, in which the client looks for the exit
 * code (client-go, remotecommand/v4.go).
 */
export function statusJson(outcome: SessionOutcome): string {
  if (outcome.kind === "failed") {
    return JSON.stringify({
      status: "Failure",
      message: outcome.message,
      reason: "InternalError",
      code: 500,
    });
  }
  if (outcome.exitCode === 0) {
    return JSON.stringify({ status: "Success" });
  }
  return JSON.stringify({
    status: "Failure",
    message: plainStatus(outcome),
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(outcome.exitCode) }] },
  });
}

/** The outcome before v4: a message, or nothing when all is well. */
export function plainStatus(outcome: SessionOutcome): string {
  if (outcome.kind === "failed") {
    return outcome.message;
  }
  return outcome.exitCode === 0 ? "" : `command terminated with non-zero exit code: ${outcome.exitCode}`;
}
