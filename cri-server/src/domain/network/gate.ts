/**
 * Many at once, or one alone: GC must see no ADD or DEL half done (SPEC.md, "GC"). Whoever waits to be alone goes
 * before those that come later, so that it can't starve.
 */
export class Gate {
  #shared = 0;
  #last: Promise<void> = Promise.resolve();
  #idle: (() => void) | undefined;

  async shared<T>(work: () => Promise<T>): Promise<T> {
    // Only an exclusive holder, or one that waits, makes `#last` pending.
    await this.#last;
    this.#shared += 1;
    try {
      return await work();
    } finally {
      this.#shared -= 1;
      if (this.#shared === 0) {
        this.#idle?.();
      }
    }
  }

  async exclusive<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const turn = Promise.withResolvers<void>();
    this.#last = turn.promise;
    try {
      await before;
      await this.#drained();
      return await work();
    } finally {
      turn.resolve();
    }
  }

  async #drained(): Promise<void> {
    // Those that passed `#last` in the same turn have not counted themselves yet.
    await Promise.resolve();
    while (this.#shared > 0) {
      const idle = Promise.withResolvers<void>();
      this.#idle = idle.resolve;
      await idle.promise;
      this.#idle = undefined;
    }
  }
}
