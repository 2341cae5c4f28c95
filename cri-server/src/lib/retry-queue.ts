/** How a failed task is retried: the first wait, doubled up to the longest one. */
export interface RetryPolicy {
  readonly firstMs: number;
  readonly longestMs: number;
}

/** A task whose last try failed. */
export interface FailingTask {
  readonly key: string;
  readonly attempts: number;
  readonly error: unknown;
  /** When it failed first, milliseconds since the epoch. */
  readonly since: number;
}

/**
 * Work that goes on after its answer was given. A task is repeated until it succeeds or the queue is closed; one key runs
 * once at a time, and adding a key that is there already joins it. What must survive a restart has its own durable
 * record: the queue only drives it.
 */
export class RetryQueue {
  readonly #running = new Map<string, Promise<void>>();
  readonly #failing = new Map<string, FailingTask>();
  readonly #policy: RetryPolicy;
  readonly #onFailure: (key: string, error: unknown, attempt: number) => void;
  readonly #closed = Promise.withResolvers<void>();
  #isClosed = false;

  constructor(policy: RetryPolicy, onFailure: (key: string, error: unknown, attempt: number) => void) {
    this.#policy = policy;
    this.#onFailure = onFailure;
  }

  /** Resolves when the task has succeeded, or when the queue was closed before that. */
  add(key: string, task: () => Promise<void>): Promise<void> {
    const present = this.#running.get(key);
    if (present !== undefined) {
      return present;
    }
    const run = this.#drive(key, task).finally(() => {
      this.#running.delete(key);
      this.#failing.delete(key);
    });
    this.#running.set(key, run);
    return run;
  }

  has(key: string): boolean {
    return this.#running.has(key);
  }

  /** Keys of what is under way. */
  pending(): readonly string[] {
    return [...this.#running.keys()];
  }

  /** What is under way, has failed, and is or will be tried again. */
  failing(): readonly FailingTask[] {
    return [...this.#failing.values()];
  }

  /** No further retries; resolves when each task's present attempt has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closed.resolve();
    await Promise.all(this.#running.values());
  }

  async #drive(key: string, task: () => Promise<void>): Promise<void> {
    let wait = this.#policy.firstMs;
    for (let attempt = 1; !this.#isClosed; attempt++) {
      try {
        await task();
        return;
      } catch (error) {
        const since = this.#failing.get(key)?.since ?? Date.now();
        this.#failing.set(key, { key, attempts: attempt, error, since });
        this.#onFailure(key, error, attempt);
      }
      await this.#pause(wait);
      wait = Math.min(wait * 2, this.#policy.longestMs);
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    const elapsed = Promise.withResolvers<void>();
    const timer = setTimeout(elapsed.resolve, milliseconds);
    await Promise.race([elapsed.promise, this.#closed.promise]);
    clearTimeout(timer);
  }
}
