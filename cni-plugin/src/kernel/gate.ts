import type { Held } from "./lock.ts";
import { lockFile } from "./lock.ts";

type Mode = "shared" | "exclusive";

interface Waiter {
  readonly mode: Mode;
  readonly grant: () => void;
  readonly refuse: (error: unknown) => void;
}

/** So long one process keeps the file for callers that want it alone; then another process gets a chance. */
const mostMs = 50;

/**
 * A file lock for many callers of one process: first come, first served, sharing where they may. The file is locked
 * once for a run of callers, because between processes a lock can only be asked for again and again.
 */
export class Gate {
  readonly #path: string;
  readonly #waiting: Waiter[] = [];
  #active = 0;
  #mode: Mode = "shared";
  #held: Held | undefined;
  #since = 0;
  #busy = false;

  constructor(path: string) {
    this.#path = path;
  }

  acquire(mode: Mode): Promise<Held> {
    return new Promise((resolve, reject) => {
      let released = false;
      const release = (): Promise<void> => {
        if (released) return Promise.resolve();
        released = true;
        this.#active -= 1;
        return this.#advance();
      };
      this.#waiting.push({ mode, grant: () => resolve({ release }), refuse: reject });
      void this.#advance();
    });
  }

  /** Grants what can be granted now. Only one run at a time changes the file. */
  async #advance(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let next = this.#next(); next !== undefined || this.#idle(); next = this.#next()) {
        if (this.#active === 0 && !this.#fits(next)) await this.#letGo();
        if (next === undefined) continue;
        if (this.#held === undefined && !(await this.#take(next))) continue;
        this.#waiting.shift();
        this.#active += 1;
        next.grant();
      }
    } finally {
      this.#busy = false;
    }
  }

  #idle(): boolean {
    return this.#active === 0 && this.#held !== undefined;
  }

  /** The first in line, if it can go beside those inside. */
  #next(): Waiter | undefined {
    const first = this.#waiting[0];
    if (first === undefined || this.#active === 0) return first;
    return this.#mode === "shared" && first.mode === "shared" ? first : undefined;
  }

  #fresh(): boolean {
    return performance.now() - this.#since < mostMs;
  }

  #fits(next: Waiter | undefined): boolean {
    return next !== undefined && this.#held !== undefined && next.mode === this.#mode && this.#fresh();
  }

  async #letGo(): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    await held?.release();
  }

  async #take(next: Waiter): Promise<boolean> {
    try {
      this.#held = await lockFile(this.#path, next.mode);
      this.#mode = next.mode;
      this.#since = performance.now();
      return true;
    } catch (error) {
      this.#waiting.splice(this.#waiting.indexOf(next), 1);
      next.refuse(error);
      return false;
    }
  }
}
