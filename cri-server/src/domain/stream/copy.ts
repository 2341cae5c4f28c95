import { TurnBudget } from "../../lib/turn-budget.ts";

/**
 * Copies one stream to another and takes no more than the other takes. Unlike pipe() it tells whether it stands still
 * because of its reader or because there is nothing, and it lets others have their turns.
 */
export class Copy {
  /** Resolves when the source has ended or failed, or the sink is gone. */
  readonly done: Promise<void>;
  readonly #source: NodeJS.ReadableStream;
  readonly #budget: TurnBudget;
  #blocked = false;
  #chunks = 0;

  constructor(source: NodeJS.ReadableStream, sink: NodeJS.WritableStream) {
    const finished = Promise.withResolvers<void>();
    this.done = finished.promise;
    this.#source = source;
    this.#budget = new TurnBudget(
      () => source.pause(),
      () => this.#resume(),
    );
    source.on("data", (chunk: Buffer) => this.#move(chunk, sink));
    sink.on("drain", () => this.#unblock());
    for (const event of ["end", "close", "error"]) {
      source.once(event, () => finished.resolve());
    }
    // A reader that has gone must not stop the process: what it writes from now on is thrown away.
    for (const event of ["close", "error"]) {
      sink.once(event, () => {
        this.#unblock();
        finished.resolve();
      });
    }
  }

  /** The sink takes nothing at the moment. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** How many chunks have been moved. */
  get chunks(): number {
    return this.#chunks;
  }

  #move(chunk: Buffer, sink: NodeJS.WritableStream): void {
    this.#chunks += 1;
    this.#budget.spend(chunk.length);
    if (sink.writable && !sink.write(chunk)) {
      this.#blocked = true;
      this.#source.pause();
    }
  }

  #unblock(): void {
    this.#blocked = false;
    this.#resume();
  }

  #resume(): void {
    if (!this.#blocked && !this.#budget.resting) {
      this.#source.resume();
    }
  }
}
