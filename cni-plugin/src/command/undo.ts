import { CniError } from "../spec/errors.ts";

/** What to do backwards when a later step fails. */
export class Undo {
  readonly #steps: { readonly what: string; readonly run: () => Promise<unknown> }[] = [];

  push(what: string, run: () => Promise<unknown>): void {
    this.#steps.push({ what, run });
  }

  /** Runs all, last first, and returns `error` with what could not be undone in its details. */
  async after(error: CniError): Promise<CniError> {
    const failures: string[] = [];
    for (const { what, run } of this.#steps.reverse()) {
      try {
        await run();
      } catch (failure) {
        failures.push(`${what}: ${failure instanceof Error ? failure.message : String(failure)}`);
      }
    }
    if (failures.length === 0) return error;
    return new CniError(error.code, error.message, {
      details: [error.details, `not undone: ${failures.join("; ")}`].filter((part) => part !== "").join("; "),
      cause: error,
    });
  }
}
