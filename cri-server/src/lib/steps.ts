/** Where the time of one call went: the milliseconds between marks. Logged at debug level, so that hack/bench can print a break-down. */
export class Steps {
  readonly #spent: Record<string, number> = {};
  #last = performance.now();

  /** What has passed since the last mark was `name`. */
  mark(name: string): void {
    const now = performance.now();
    this.#spent[name] = Math.round((now - this.#last) * 100) / 100;
    this.#last = now;
  }

  get spent(): Readonly<Record<string, number>> {
    return this.#spent;
  }
}
