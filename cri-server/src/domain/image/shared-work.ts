import { orAborted } from "../../lib/keyed-mutex.ts";

interface Shared<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

/**
 * Work that several may wait for under one key. It is done once, by a signal of its own: the work stops when the last one
 * who waits for it has given up, and that one hears of it when it has stopped.
 */
export class SharedWork<T> {
  readonly #running = new Map<string, Shared<T>>();

  async run(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const shared = this.#running.get(key) ?? this.#start(key, work);
    shared.waiting += 1;
    try {
      return await orAborted(shared.promise, signal);
    } finally {
      shared.waiting -= 1;
      if (shared.waiting === 0) {
        // Nobody may join what is being stopped.
        this.#forget(key, shared);
        shared.controller.abort(signal.reason);
        await shared.promise.catch(() => {});
      }
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Shared<T> {
    const controller = new AbortController();
    const shared: Shared<T> = { promise: work(controller.signal), controller, waiting: 0 };
    this.#running.set(key, shared);
    shared.promise.then(
      () => this.#forget(key, shared),
      () => this.#forget(key, shared),
    );
    return shared;
  }

  #forget(key: string, shared: Shared<T>): void {
    if (this.#running.get(key) === shared) {
      this.#running.delete(key);
    }
  }
}
