import type { Logger } from "../../ports/logger.ts";

/** What a handler knows of its call besides the request. */
export interface CallContext {
  /** Aborts when the client cancels, its deadline passes, or its connection ends. */
  readonly signal: AbortSignal;
  /** When the client gives up: milliseconds since the epoch, Infinity without a deadline. */
  readonly deadline: number;
  /** Carries the RPC's name and the call's id. */
  readonly log: Logger;
}

/**
 * One unary RPC: validate, call the domain, present. Failures are thrown; wrap.ts turns them into a status.
 */
export type UnaryHandler<Req, Res> = (request: Req, context: CallContext) => Promise<Res>;

/** One server-streaming RPC. Each `send` resolves when the client may take more, and rejects when the call has ended. */
export type StreamHandler<Req, Res> = (
  request: Req,
  send: (message: Res) => Promise<void>,
  context: CallContext,
) => Promise<void>;
