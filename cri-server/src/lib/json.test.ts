import { describe, expect, it } from "vitest";
import { parse, stringify } from "./json.ts";

describe("stringify and parse", () => {
  it.each([
    [{ at: 1n, list: [2n, { deep: -3n }] }],
    [{ labels: { $n: "5", $$n: "6", plain: "7" } }],
    [{ labels: { $other: "x" }, nested: { $n: { $n: "8" } } }],
    [[]],
    ["text"],
  ])("round-trips %o", (value) => {
    expect(parse(stringify(value))).toEqual(value);
  });

  it("keeps a key named __proto__ as a key", () => {
    const text = '{"labels":{"__proto__":"x"}}';
    expect(stringify(parse(text))).toBe(text);
  });
});
