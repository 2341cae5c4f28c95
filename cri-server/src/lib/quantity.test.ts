import { describe, expect, it } from "vitest";
import { parseQuantity } from "./quantity.ts";

describe("parseQuantity", () => {
  it.each([
    ["0", 0],
    ["10M", 10_000_000],
    ["1.5Gi", 1.5 * 2 ** 30],
    ["1e6", 1_000_000],
    ["0.3k", 300],
    ["1.0001", 2],
  ])("reads %s", (text, value) => {
    expect(parseQuantity(text)).toBe(value);
  });

  it.each(["", "-1", "1 Gi", "1gi", "Gi", "1e", "0x10", "1K"])("refuses %j", (text) => {
    expect(parseQuantity(text)).toBeNaN();
  });
});
