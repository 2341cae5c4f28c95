interface Reservation {
  /** Settles when the operation that holds it has ended; never rejects. */
  readonly ended: Promise<void>;
  /** The operation's client has gone, so that it is being rolled back. */
  readonly isAbandoned: () => boolean;
}

/**
 * Identities in use while their object is being made. A second request with the same identity is refused as long as the
 * first has a client; when that one has gone (a deadline passed and the client asks again), the second waits for the
 * rollback and then goes on.
 */
export class Reservations {
  readonly #held = new Map<string, Reservation>();

  /** Runs `work` holding `key`. `refuse` makes the error for a second request. */
  async run<T>(key: string, signal: AbortSignal, refuse: () => Error, work: () => Promise<T>): Promise<T> {
    for (let held = this.#held.get(key); held !== undefined; held = this.#held.get(key)) {
      if (!held.isAbandoned()) {
        throw refuse();
      }
      await held.ended;
    }
    const ended = Promise.withResolvers<void>();
    this.#held.set(key, { ended: ended.promise, isAbandoned: () => signal.aborted });
    try {
      return await work();
    } finally {
      this.#held.delete(key);
      ended.resolve();
    }
  }
}
