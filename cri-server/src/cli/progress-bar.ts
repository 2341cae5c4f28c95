import type { Transfer } from "../ports/image-admin.ts";

const barWidth = 30;

/** 1536000 as 1.5 MB. */
export function showBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Lines of progress that are drawn over one another on a terminal; elsewhere nothing is drawn. */
export class ProgressBars {
  readonly #stream: NodeJS.WriteStream;
  /** Every layer that was ever seen, so that finished ones stay on the screen. */
  readonly #seen = new Map<string, Transfer>();
  #drawn = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  draw(transfers: readonly Transfer[]): void {
    if (!this.#stream.isTTY) {
      return;
    }
    const now = new Map(transfers.map((one) => [one.digest as string, one]));
    for (const [digest, known] of this.#seen) {
      // What is no longer under way has come whole, or the command is about to say why not.
      this.#seen.set(digest, now.get(digest) ?? { ...known, have: known.size });
    }
    for (const [digest, one] of now) {
      this.#seen.set(digest, one);
    }
    this.#erase();
    for (const one of this.#seen.values()) {
      this.#stream.write(`${progressLine(one)}\n`);
    }
    this.#drawn = this.#seen.size;
  }

  /** Shows everything as complete. */
  finish(): void {
    this.draw([]);
  }

  #erase(): void {
    if (this.#drawn > 0) {
      this.#stream.write(`\x1b[${this.#drawn}A\x1b[J`);
    }
  }
}

/** One layer: `sha256:0123456789ab [=====>    ] 12.3 MB of 45.6 MB`. */
export function progressLine({ digest, size, have }: Transfer): string {
  const filled = size === 0 ? barWidth : Math.round((Math.min(have, size) / size) * barWidth);
  const bar = `${"=".repeat(filled)}${" ".repeat(barWidth - filled)}`;
  return `${digest.slice(0, 19)} [${bar}] ${showBytes(have)} of ${showBytes(size)}`;
}
