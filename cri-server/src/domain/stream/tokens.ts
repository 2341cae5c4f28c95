import { randomBytes } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";

/** kubelet's own limits for what its streaming library keeps (cri-streaming, request_cache.go). */
const lifetimeMs = 60_000;
const most = 1000;

/**
 * Requests that wait for their client to come with a token. A token is good once, for a minute. They are kept in the
 * order of their age, which is the order of a Map.
 */
export class Tokens<T> {
  readonly #waiting = new Map<string, { readonly value: T; readonly expires: number }>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Rejects `resource-exhausted` when too many wait. */
  put(value: T): string {
    this.#expire();
    if (this.#waiting.size >= most) {
      throw new BerthError("resource-exhausted", `${most} streaming requests wait for their clients already`);
    }
    const token = randomBytes(18).toString("base64url");
    this.#waiting.set(token, { value, expires: this.#now() + lifetimeMs });
    return token;
  }

  /** The request, once; undefined when the token is unknown, used or too old. */
  take(token: string): T | undefined {
    this.#expire();
    const entry = this.#waiting.get(token);
    this.#waiting.delete(token);
    return entry?.value;
  }

  get size(): number {
    return this.#waiting.size;
  }

  #expire(): void {
    const now = this.#now();
    for (const [token, entry] of this.#waiting) {
      if (entry.expires > now) {
        return;
      }
      this.#waiting.delete(token);
    }
  }
}
