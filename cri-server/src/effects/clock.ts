import type { Clock } from "../ports/clock.ts";

/** The system's clock in nanoseconds. Two readings always differ, so that objects made in a row can be told apart by age. */
export function createClock(): Clock {
  let last = 0n;
  return {
    now: () => {
      // Not performance.now(): it does not follow corrections of the clock, which the monitors' times do.
      const read = BigInt(Date.now()) * 1_000_000n;
      last = read > last ? read : last + 1n;
      return last;
    },
  };
}
