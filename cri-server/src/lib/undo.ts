/** One step that takes back something done. Has to be idempotent. */
export interface UndoStep {
  readonly what: string;
  readonly run: () => Promise<void>;
}

/** An undo step that failed. */
export interface UndoFailure {
  readonly what: string;
  readonly error: unknown;
}

/**
 * Rollback as a value: steps are pushed as the work goes on, and all of them run, last first, when it fails. A failing
 * step never keeps an earlier one from running.
 */
export class Undo {
  readonly #steps: UndoStep[] = [];

  push(what: string, run: () => Promise<void>): void {
    this.#steps.push({ what, run });
  }

  /** Runs everything, last in first out, and empties the list. Resolves with what failed. */
  async run(): Promise<readonly UndoFailure[]> {
    const failures: UndoFailure[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.run();
      } catch (error) {
        failures.push({ what: step.what, error });
      }
    }
    return failures;
  }
}
