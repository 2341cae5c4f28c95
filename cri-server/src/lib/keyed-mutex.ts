/**
 * First-come-first-served locks by key. A waiter can give up by its signal; the order of the others stays. Keys cost
 * nothing while nobody holds them.
 */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs `work` alone among all with the same key. Rejects with the signal's reason when it aborts while waiting. */
  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#tails.get(key);
    const gate = Promise.withResolvers<void>();
    const tail = before === undefined ? gate.promise : before.then(() => gate.promise);
    this.#tails.set(key, tail);
    void tail.then(() => {
      if (this.#tails.get(key) === tail) {
        this.#tails.delete(key);
      }
    });
    try {
      if (before !== undefined) {
        await orAborted(before, signal);
      }
      signal?.throwIfAborted();
      return await work();
    } finally {
      gate.resolve();
    }
  }

  /** Number of keys held or waited for. */
  get size(): number {
    return this.#tails.size;
  }
}

/** Settles like `promise`, or rejects with the signal's reason when that comes first. */
export async function orAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) {
    return await promise;
  }
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
