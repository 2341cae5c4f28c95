/**
 * Runs short synchronous jobs in order, and lets the event loop turn whenever they have taken a millisecond or two together:
 * a hundred of them asked for at once don't become one long pause.
 */
export class TurnQueue {
  readonly #jobs: (() => void)[] = [];
  readonly #budgetMs: number;
  #scheduled = false;

  constructor(budgetMs = 2) {
    this.#budgetMs = budgetMs;
  }

  run<T>(job: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#jobs.push(() => {
        try {
          resolve(job());
        } catch (error) {
          reject(error);
        }
      });
      if (this.#scheduled) return;
      this.#scheduled = true;
      queueMicrotask(() => this.#turn());
    });
  }

  #turn(): void {
    const end = performance.now() + this.#budgetMs;
    for (let job = this.#jobs.shift(); job !== undefined; job = this.#jobs.shift()) {
      job();
      if (performance.now() < end) continue;
      if (this.#jobs.length === 0) break;
      setImmediate(() => this.#turn());
      return;
    }
    this.#scheduled = false;
  }
}
