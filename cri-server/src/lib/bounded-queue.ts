/**
 * A queue between one producer that must never wait and one consumer that may be slow. When it is full the oldest
 * entries go, and the consumer is told how many were lost.
 */
export class BoundedQueue<T> {
  readonly #limit: number;
  #items: T[] = [];
  #dropped = 0;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(item: T): void {
    if (this.#closed) {
      return;
    }
    if (this.#items.length >= this.#limit) {
      this.#items.shift();
      this.#dropped += 1;
    }
    this.#items.push(item);
    this.#wake?.();
  }

  /** Ends the queue; what is in it can still be taken. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  /** Takes everything there is, waiting while there is nothing. `undefined` when closed and empty. */
  async take(): Promise<{ readonly items: readonly T[]; readonly dropped: number } | undefined> {
    while (this.#items.length === 0) {
      if (this.#closed) {
        return undefined;
      }
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      await woken.promise;
      this.#wake = undefined;
    }
    const taken = { items: this.#items, dropped: this.#dropped };
    this.#items = [];
    this.#dropped = 0;
    return taken;
  }
}
