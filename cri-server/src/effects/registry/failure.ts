import { BerthError } from "../../errors/berth-error.ts";

/** An answer that is no success. */
export class HttpFailure extends Error {
  readonly status: number;
  /** From Retry-After, if the host said so. */
  readonly retryAfterMs: number | undefined;
  constructor(status: number, message: string, retryAfterMs?: number) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Bytes that can't be right, although they came as if they were. */
export class ContentFailure extends Error {}

/** Whether asking again may help: overload and faults of the way, but never a refusal. */
export function isTransient(error: unknown): boolean {
  if (error instanceof BerthError) {
    return false;
  }
  if (error instanceof HttpFailure) {
    return error.status === 408 || error.status === 429 || (error.status >= 500 && error.status !== 501);
  }
  // One side refuses the other's certificate: an alert is what the other side says.
  return !certificateCodes.test(codeOf(error)) && !alertCodes.test(codeOf(error));
}

const certificateCodes =
  /^(?:CERT_|UNABLE_TO_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|ERR_TLS_CERT_ALTNAME_INVALID)/;
const alertCodes = /^ERR_SSL_.*ALERT_.*(?:CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)/;

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** What the client is told when no host could serve `what`. */
export function toBerthError(what: string, host: string, error: unknown): BerthError {
  if (error instanceof BerthError) {
    return error;
  }
  const message = describe(error);
  if (error instanceof ContentFailure) {
    return new BerthError("pull-failed", `${what}: ${host}: ${message}`, { cause: error });
  }
  if (error instanceof HttpFailure) {
    switch (true) {
      case error.status === 401 || error.status === 403:
        return new BerthError("pull-failed", `${what}: unauthorized: ${host} answers ${message}`, {
          cause: error,
        });
      case error.status === 404:
        return new BerthError("image-not-found", `${what}: not found: ${host} answers ${message}`, {
          cause: error,
        });
      case isTransient(error):
        return unavailable(what, host, message, error);
      default:
        return new BerthError("pull-failed", `${what}: ${host} answers ${message}`, { cause: error });
    }
  }
  if (certificateCodes.test(codeOf(error))) {
    return new BerthError("pull-failed", `${what}: ${host} is not trusted: ${message}`, { cause: error });
  }
  return unavailable(what, host, message, error);
}

function unavailable(what: string, host: string, message: string, cause: unknown): BerthError {
  return new BerthError("registry-unavailable", `RegistryUnavailable: ${what}: ${host}: ${message}`, {
    cause,
  });
}

function describe(error: unknown): string {
  // Trying both address families leaves an empty message on the outside.
  if (error instanceof AggregateError && error.message === "") {
    return error.errors.map(describe).join("; ");
  }
  return error instanceof Error ? error.message : String(error);
}

/** Waits, or rejects with the signal's reason. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => reject(signal.reason);
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** Exponential, with a random half so that a crowd of nodes does not come back at once. */
export function backoffMs(attempt: number, error: unknown): number {
  const base = Math.min(200 * 2 ** attempt, 10_000);
  const own = base / 2 + (Math.random() * base) / 2;
  const asked = error instanceof HttpFailure ? (error.retryAfterMs ?? 0) : 0;
  return Math.max(own, Math.min(asked, 30_000));
}
