/**
 * JSON that keeps bigints: one is written as {"$n":"123"}. A key of ours that starts with "$" gets another "$" before
 * it, so that no label or annotation can be mistaken for a number.
 */
export function stringify(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === "bigint") {
      return { $n: item.toString() };
    }
    if (isPlain(item) && needsEscape(item)) {
      return Object.fromEntries(
        Object.entries(item).map(([key, inner]) => [key.startsWith("$") ? `$${key}` : key, inner]),
      );
    }
    return item;
  });
}

/** Reads what `stringify` wrote. */
export function parse(text: string): unknown {
  return JSON.parse(text, (_key, item: unknown) => {
    if (!isPlain(item) || !needsEscape(item)) {
      return item;
    }
    if (typeof item.$n === "string") {
      return BigInt(item.$n);
    }
    return Object.fromEntries(
      Object.entries(item).map(([key, inner]) => [key.startsWith("$$") ? key.slice(1) : key, inner]),
    );
  });
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function needsEscape(value: Record<string, unknown>): boolean {
  for (const key in value) {
    if (key.startsWith("$")) {
      return true;
    }
  }
  return false;
}
