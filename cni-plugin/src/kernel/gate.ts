import { LockFile } from "./lock.ts";

/** A place inside the gate, until it is given back. */
export interface Held {
  release(): Promise<void>;
}

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
  readonly #file: LockFile;
  readonly #waiting: Waiter[] = [];
  #active = 0;
  #mode: Mode = "shared";
  #held = false;
  #since = 0;
  #busy = false;

  constructor(path: string) {
    this.#file = new LockFile(path);
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

  /** For the end of the process's work. */
  close(): Promise<void> {
    return this.#file.close();
  }

  /** Grants what can be granted now. Only one run at a time changes the file. */
  async #advance(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let next = this.#next(); next !== undefined || this.#idle(); next = this.#next()) {
        if (this.#active === 0 && !this.#fits(next)) this.#letGo();
        if (next === undefined) continue;
        if (!this.#held && !(await this.#take(next))) continue;
        this.#waiting.shift();
        this.#active += 1;
        next.grant();
      }
    } finally {
      this.#busy = false;
    }
  }

  #idle(): boolean {
    return this.#active === 0 && this.#held;
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
    return next !== undefined && this.#held && next.mode === this.#mode && this.#fresh();
  }

  #letGo(): void {
    if (this.#held) this.#file.unlock();
    this.#held = false;
  }

  async #take(next: Waiter): Promise<boolean> {
    try {
      await this.#file.lock(next.mode);
      this.#held = true;
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
