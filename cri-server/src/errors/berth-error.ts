import type { ErrorCode } from "./catalogue.ts";
import { catalogue } from "./catalogue.ts";

/**
 * The one error of the server. `code` is from the catalogue, which gives the gRPC status; `message` is for the client and
 * names field and value; `cause` is for the log and never leaves the machine.
 */
export class BerthError extends Error {
  override readonly name = "BerthError";
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
  get grpcStatus(): number {
    return catalogue[this.code].grpc;
  }
}
