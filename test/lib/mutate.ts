/** A small seeded generator (mulberry32): the same seed gives the same run. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 up to, not including, 1. */
  roll(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(limit: number): number {
    return Math.floor(this.roll() * limit);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
}

const strings = [
  "",
  " ",
  "..",
  "/",
  "a/../../b",
  "\0",
  "a\nb",
  "%s%n",
  "-1",
  "ünï ☃",
  "x".repeat(70),
  "y".repeat(5000),
  "__proto__",
  "constructor",
  "0".repeat(64),
  "f".repeat(63),
] as const;
const numbers = [0, 1, -1, 2, 3, 99, 65_535, 65_536, 2_147_483_647, -2_147_483_648] as const;
const bigints = [
  0n,
  1n,
  -1n,
  2n,
  1000n,
  4_294_967_295n,
  4_294_967_296n,
  2n ** 63n - 1n,
  -(2n ** 63n),
] as const;

/** Fields that a run may only fill with harmless values: what they name on the host would be used. */
export type Harmless = Readonly<Record<string, readonly unknown[]>>;

/** A copy of a message with some of its fields changed, `share` being how likely each one is. */
export function mutate(message: unknown, dice: Dice, share: number, harmless: Harmless, field = ""): unknown {
  const allowed = harmless[field]?.filter((value) => typeof value === typeof message);
  if (allowed !== undefined && !Array.isArray(message)) {
    return allowed.length > 0 && dice.roll() < share ? dice.pick(allowed) : message;
  }
  if (message instanceof Uint8Array) return dice.roll() < share ? randomBytes(dice) : message;
  if (Array.isArray(message)) return mutateList(message, dice, share, harmless, field);
  if (typeof message === "object" && message !== null) {
    if (dice.roll() < share / 4) return undefined;
    return Object.fromEntries(
      Object.entries(message).map(([key, value]) => [key, mutate(value, dice, share, harmless, key)]),
    );
  }
  return dice.roll() < share ? another(message, dice) : message;
}

function mutateList(
  list: readonly unknown[],
  dice: Dice,
  share: number,
  harmless: Harmless,
  field: string,
): unknown[] {
  const changed = list.map((item) => mutate(item, dice, share, harmless, field) ?? item);
  if (dice.roll() >= share) return changed;
  return dice.roll() < 0.5 ? changed.slice(1) : [...changed, ...changed];
}

function another(value: unknown, dice: Dice): unknown {
  switch (typeof value) {
    case "string":
      return dice.pick(strings);
    case "number":
      return dice.pick(numbers);
    case "bigint":
      return dice.pick(bigints);
    case "boolean":
      return !value;
    default:
      return value;
  }
}

function randomBytes(dice: Dice): Buffer {
  return Buffer.from(Array.from({ length: dice.below(64) }, () => dice.below(256)));
}
