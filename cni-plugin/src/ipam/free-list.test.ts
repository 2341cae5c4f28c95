import { describe, expect, it } from "vitest";
import { parsePrefix } from "../spec/address.ts";
import type { Range } from "../spec/ipam-config.ts";
import { isReserved, RangeUsage } from "./free-list.ts";

function rangeOf(subnet: string, first: bigint, last: bigint, exclude: readonly string[] = []): Range {
  const prefix = parsePrefix(subnet, "subnet");
  const { family, value } = prefix.address;
  const at = (offset: bigint) => ({ family, value: value + offset });
  return {
    subnet: prefix,
    start: at(first),
    end: at(last),
    gateway: at(1n),
    exclude: exclude.map((text) => parsePrefix(text, "exclude")),
  };
}

describe.each([
  ["a range with a bitmap", "10.0.0.0/16", 65534n],
  ["a range without", "fd00::/64", 1n << 40n],
])("%s", (_, subnet, last) => {
  const range = rangeOf(subnet, 1n, last);
  const { start, end } = range;

  it("finds the first free address at or behind another", () => {
    const usage = new RangeUsage(range);
    expect(usage.freeFrom(start.value)).toBe(start.value);
    for (let offset = 0n; offset < 100n; offset++) usage.take(start.value + offset);
    expect(usage.freeFrom(start.value)).toBe(start.value + 100n);
    expect(usage.freeFrom(start.value + 50n)).toBe(start.value + 100n);
    usage.release(start.value + 70n);
    expect(usage.freeFrom(start.value + 50n)).toBe(start.value + 70n);
    expect(usage.freeFrom(start.value + 71n)).toBe(start.value + 100n);
    expect(usage.used).toBe(99);
  });

  it("ends at its end", () => {
    const usage = new RangeUsage(range);
    usage.take(end.value);
    expect(usage.freeFrom(end.value)).toBeUndefined();
    expect(usage.freeFrom(end.value + 1n)).toBeUndefined();
    expect(usage.freeFrom(0n)).toBe(start.value);
  });

  it("ignores strangers and repetitions", () => {
    const usage = new RangeUsage(range);
    usage.take(end.value + 1n);
    usage.take(start.value);
    usage.take(start.value);
    usage.release(end.value);
    expect(usage.used).toBe(1);
    expect(usage.has(start.value)).toBe(true);
  });
});

it("a full /16 is told from one with a single address left, at once", () => {
  const range = rangeOf("10.0.0.0/16", 1n, 65534n);
  const usage = new RangeUsage(range);
  for (let value = range.start.value; value <= range.end.value; value++) usage.take(value);
  expect(usage.freeFrom(range.start.value)).toBeUndefined();
  usage.release(range.start.value + 65000n);
  const begin = performance.now();
  for (let round = 0; round < 100; round++) {
    expect(usage.freeFrom(range.start.value)).toBe(range.start.value + 65000n);
  }
  expect((performance.now() - begin) / 100).toBeLessThan(1);
});

it("gateway and excluded addresses are reserved", () => {
  const range = rangeOf("10.0.0.0/24", 1n, 254n, ["10.0.0.16/28", "10.0.0.99/32"]);
  const base = range.start.value - 1n;
  const reserved = [1n, 2n, 16n, 31n, 32n, 99n].map((offset) => isReserved(range, base + offset));
  expect(reserved).toEqual([true, false, true, true, false, true]);
});
