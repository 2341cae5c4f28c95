import { describe, expect, it } from "vitest";
import { isSame, limitsInForce } from "./cgroup-limits.ts";

describe("isSame", () => {
  it.each([
    ["1024", "1024"],
    ["100000000", "99999744"],
    ["max", "max"],
    ["-1", "9223372036854771712"],
    ["50000", "50000 100000"],
    ["50000 100000", "50000 100000"],
    ["max 100000", "max 100000"],
    ["0,1", "0-1"],
    ["0-1,3", "0-1,3"],
  ])("%s is what %s says", (wanted, inForce) => {
    expect(isSame(wanted, inForce)).toBe(true);
  });

  it.each([
    ["1024", "512"],
    ["100000000", "max"],
    ["max", "100000000"],
    ["50000", "max 100000"],
    ["50000 100000", "50000 50000"],
    ["0-1", "0"],
    ["100000000", ""],
  ])("%s is not what %s says", (wanted, inForce) => {
    expect(isSame(wanted, inForce)).toBe(false);
  });
});

it("a file that can't be read differs, unless nobody asked for it by name", () => {
  const write = { controller: "memory", file: "memory.max", value: "4096", field: "memory_limit_in_bytes" };
  const missing = { file: "memory.max", wanted: "4096", inForce: undefined };
  expect(limitsInForce([write], () => undefined)).toEqual([{ ...missing, differs: true }]);
  expect(limitsInForce([{ ...write, field: undefined }], () => undefined)).toEqual([
    { ...missing, differs: false },
  ]);
  expect(limitsInForce([write], (_, file) => (file === "memory.max" ? "4096\n" : undefined))).toEqual([
    { file: "memory.max", wanted: "4096", inForce: "4096", differs: false },
  ]);
});
