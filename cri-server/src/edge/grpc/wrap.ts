import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerUnaryCall,
  ServerWritableStream,
} from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { BerthError } from "../../errors/berth-error.ts";
import type { Logger } from "../../ports/logger.ts";
import type { Telemetry } from "../../ports/telemetry.ts";
import { failureFields, failureLevel } from "./failure-line.ts";
import type { CallContext, StreamHandler, UnaryHandler } from "./handler.ts";
import { redact } from "./redact.ts";
import { type Outcome, toStatus } from "./status.ts";

/** Whether calls are served; else why not. */
export interface Gate {
  refusal: string | undefined;
}

/** What every call needs. */
export interface WrapDeps {
  readonly gate: Gate;
  readonly log: Logger;
  /** Missing: nobody counts. */
  readonly telemetry: Telemetry | undefined;
}

/** How much a call says about itself: polling calls only at trace. */
const quiet: ReadonlySet<string> = new Set([
  "version",
  "status",
  "listPodSandbox",
  "podSandboxStatus",
  "listContainers",
  "containerStatus",
  "containerStats",
  "listContainerStats",
  "podSandboxStats",
  "listPodSandboxStats",
  "listPodSandboxMetrics",
  "listImages",
  "imageStatus",
  "imageFsInfo",
  "streamPodSandboxes",
  "streamContainers",
  "streamContainerStats",
  "streamPodSandboxStats",
  "streamPodSandboxMetrics",
  "streamImages",
]);

type AnyCall = Pick<ServerUnaryCall<unknown, unknown>, "on" | "cancelled" | "getDeadline" | "request">;

/** Makes a gRPC method of a unary handler: readiness, log, cancellation, errors. */
export function wrapUnary<Req, Res>(
  name: string,
  handler: UnaryHandler<Req, Res>,
  deps: WrapDeps,
): handleUnaryCall<Req, Res> {
  return (call, callback) => {
    const run = observe(name, call, deps, (context) => handler(call.request, context));
    run.then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error).status),
    );
  };
}

/** Makes a gRPC method of a streaming handler; a slow client slows the handler, nothing else. */
export function wrapStream<Req, Res>(
  name: string,
  handler: StreamHandler<Req, Res>,
  deps: WrapDeps,
): handleServerStreamingCall<Req, Res> {
  return (call) => {
    const run = observe(name, call, deps, (context) =>
      handler(call.request, (message) => send(call, message, context.signal), context),
    );
    run.then(
      () => call.end(),
      (error: unknown) => call.emit("error", toStatus(error).status),
    );
  };
}

async function send<Req, Res>(
  call: ServerWritableStream<Req, Res>,
  message: Res,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  if (call.write(message)) {
    return;
  }
  const settled = Promise.withResolvers<void>();
  const onAbort = (): void => settled.reject(signal.reason);
  call.once("drain", settled.resolve);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await settled.promise;
  } finally {
    call.off("drain", settled.resolve);
    signal.removeEventListener("abort", onAbort);
  }
}

let calls = 0;

async function observe<T>(
  name: string,
  call: AnyCall,
  deps: WrapDeps,
  run: (context: CallContext) => Promise<T>,
): Promise<T> {
  const started = performance.now();
  const isQuiet = quiet.has(name);
  calls += 1;
  const fields = { rpc: name, call: calls };
  // A log and a signal of its own cost as much as a polling call's work, and it has no use for them.
  let own: Logger | undefined;
  const log = (): Logger => {
    own ??= deps.log.child(fields);
    return own;
  };
  let cancellation: Cancellation | undefined;
  const context: CallContext = {
    get signal() {
      cancellation ??= cancellationOf(call);
      return cancellation.signal;
    },
    deadline: Number(call.getDeadline()),
    get log() {
      return log();
    },
  };
  const request = lazyRedacted(call.request);
  if (isQuiet) deps.log.trace({ ...fields, request }, "request");
  else log().debug({ request }, "request");
  try {
    if (deps.gate.refusal !== undefined) {
      throw new BerthError("unavailable", deps.gate.refusal);
    }
    const result = await run(context);
    if (isQuiet) deps.log.trace({ ...fields, ms: elapsed(started) }, "done");
    else log().info({ ms: elapsed(started) }, "done");
    deps.telemetry?.callEnded(name, status.OK, performance.now() - started);
    return result;
  } catch (error) {
    const outcome = toStatus(error);
    deps.telemetry?.callEnded(name, outcome.status.code, performance.now() - started);
    throw failed(error, outcome, log(), { started, isQuiet });
  } finally {
    cancellation?.end();
  }
}

/** Redaction costs; it is only paid when the line is really written. */
function lazyRedacted(request: unknown): { toJSON(): unknown } {
  return { toJSON: () => redact(request) };
}

interface Failed {
  readonly started: number;
  readonly isQuiet: boolean;
}

/** Logs the error, our own faults with their causes, and gives back one that the client may see. */
function failed(error: unknown, outcome: Outcome, log: Logger, { started, isQuiet }: Failed): unknown {
  const { code, details } = outcome.status;
  const { errorId } = outcome;
  const level = failureLevel(code, isQuiet);
  log[level]({ ms: elapsed(started), status: code, errorId, ...failureFields(error, level) }, details);
  return errorId === undefined ? error : new BerthError("internal", details);
}

function elapsed(started: number): number {
  return Math.round((performance.now() - started) * 100) / 100;
}

interface Cancellation {
  readonly signal: AbortSignal;
  end(): void;
}

/**
 * Aborts on cancellation and when the deadline passes; the reason is the error that the call then ends with. grpc-js says
 * "cancelled" of every call, of answered ones too: from `end` on nobody is told, and no error is made.
 */
function cancellationOf(call: AnyCall): Cancellation {
  const controller = new AbortController();
  let isOver = false;
  const abort = (): void => {
    if (isOver) {
      return;
    }
    const deadline = call.getDeadline();
    const isLate = deadline !== Infinity && Number(deadline) <= Date.now();
    controller.abort(
      isLate
        ? new BerthError("deadline-exceeded", "the call's deadline has passed")
        : new BerthError("cancelled", "the call was cancelled by the client"),
    );
  };
  if (call.cancelled) {
    abort();
  } else {
    call.on("cancelled", abort);
  }
  const end = (): void => {
    isOver = true;
  };
  return { signal: controller.signal, end };
}
