import { createHash } from "node:crypto";

/** Far more than the images that a node has; each is 150 bytes. */
const mostVerdicts = 512;

/**
 * What has been found of questions that are answered the same whenever they are asked: the oldest are forgotten first.
 * Each container asks for its image's signature again, and public ones cost 18 ms of the event loop to check.
 */
export class Verdicts {
  readonly #known = new Map<string, string | undefined>();

  /** `question`: whatever JSON can hold of all that the answer depends on. An error is not remembered. */
  of(question: unknown, answer: () => string | undefined): string | undefined {
    const key = createHash("sha256").update(JSON.stringify(question)).digest("base64");
    if (this.#known.has(key)) {
      return this.#known.get(key);
    }
    const verdict = answer();
    this.#known.set(key, verdict);
    const [oldest] = this.#known.keys();
    if (this.#known.size > mostVerdicts && oldest !== undefined) {
      this.#known.delete(oldest);
    }
    return verdict;
  }
}
