/**
 * Bytes that one stream may move before everybody else gets a turn. libuv reads a ready stream up to 32 times in a row;
 * a fast one would hold up every other call for several milliseconds (uv__read, its `count`).
 */
const bytesPerTurn = 256 * 1024;

/** Stops a stream for the rest of a turn of the event loop when it has moved its share. */
export class TurnBudget {
  readonly #stop: () => void;
  readonly #go: () => void;
  #left = bytesPerTurn;
  #armed = false;
  #resting = false;

  constructor(stop: () => void, go: () => void) {
    this.#stop = stop;
    this.#go = go;
  }

  /** Between stop and go. */
  get resting(): boolean {
    return this.#resting;
  }

  spend(bytes: number): void {
    if (!this.#armed) {
      this.#armed = true;
      setImmediate(() => this.#nextTurn());
    }
    this.#left -= bytes;
    if (this.#left <= 0 && !this.#resting) {
      this.#resting = true;
      this.#stop();
    }
  }

  #nextTurn(): void {
    this.#armed = false;
    this.#left = bytesPerTurn;
    if (this.#resting) {
      this.#resting = false;
      this.#go();
    }
  }
}
