import { randomBytes } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";
import { catalogue } from "../../errors/catalogue.ts";
import { codeOfErrno } from "../../errors/errno.ts";

/** What the client gets. */
export interface GrpcStatus {
  readonly code: number;
  readonly details: string;
}

/** A status, and what the log has to say beside it. */
export interface Outcome {
  readonly status: GrpcStatus;
  /** Ties an internal error's answer to its log line. */
  readonly errorId?: string;
}

/** gRPC messages travel in a header; longer ones are cut. */
const maxDetails = 4096;

/** Turns whatever was thrown into a status. The cause is never in it; an unforeseen error shows only an id. */
export function toStatus(error: unknown): Outcome {
  if (error instanceof BerthError) {
    return { status: { code: error.grpcStatus, details: error.message.slice(0, maxDetails) } };
  }
  const code = codeOfErrno(error);
  const errorId = randomBytes(6).toString("hex");
  const details = `${catalogue[code].meaning} (error ${errorId})`;
  return { status: { code: catalogue[code].grpc, details }, errorId };
}
