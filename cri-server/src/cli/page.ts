/** A page of text: sections with a name in the margin. */
export class Page {
  readonly #lines: string[] = [];

  /** A line without a margin. */
  title(text: string): void {
    this.#lines.push(text);
  }

  /** Lines beside one name; no lines, no section. */
  section(name: string, lines: readonly string[]): void {
    for (const [index, line] of lines.entries()) {
      this.#lines.push(`  ${(index === 0 ? name : "").padEnd(marginWidth)} ${line}`.trimEnd());
    }
  }

  toString(): string {
    return this.#lines.join("\n");
  }
}

const marginWidth = 11;

/** Cells in columns, each as wide as its widest. */
export function columns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, cell.length);
    }
  }
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** How long ago, in its largest unit: 3h. */
export function ago(at: string, now: Date): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - new Date(at).getTime()) / 1000));
  const [amount, unit] =
    seconds < 120
      ? [seconds, "s"]
      : seconds < 7200
        ? [Math.floor(seconds / 60), "m"]
        : seconds < 172_800
          ? [Math.floor(seconds / 3600), "h"]
          : [Math.floor(seconds / 86_400), "d"];
  return `${amount}${unit} ago`;
}

/** Milliseconds by step: `prepare 1.2 ms, monitor 3 ms`. */
export function showSteps(steps: Readonly<Record<string, number>> | undefined): readonly string[] {
  if (steps === undefined) {
    return [];
  }
  const total = Object.values(steps).reduce((sum, step) => sum + step, 0);
  const each = Object.entries(steps).map(([name, milliseconds]) => `${name} ${milliseconds} ms`);
  return [`${each.join(", ")}; ${Math.round(total * 100) / 100} ms in all`];
}
