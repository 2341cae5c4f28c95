import { describe, expect, it } from "vitest";
import { parseSignal, resolveStopSignal } from "./signals.ts";

describe("parseSignal", () => {
  it.each([
    ["SIGTERM", 15],
    ["term", 15],
    ["9", 9],
    ["SIGRTMIN+3", 37],
    ["RTMAX", 64],
    ["SIGRTMAX-14", 50],
    ["", undefined],
  ])("%j is %j", (text, expected) => {
    expect(parseSignal(text, "f")).toBe(expected);
  });

  it.each(["SIGFLY", "0", "65", "-1", "SIGRTMIN+31", "RTMAX+1", "constructor", "15 "])(
    "refuses %j",
    (text) => {
      expect(() => parseSignal(text, "image config.StopSignal")).toThrow("image config.StopSignal");
    },
  );
});

describe("resolveStopSignal", () => {
  it("asks the container, the image, and then takes SIGTERM", () => {
    expect(resolveStopSignal(2, "SIGQUIT")).toBe(2);
    expect(resolveStopSignal(undefined, "SIGQUIT")).toBe(3);
    expect(resolveStopSignal(undefined, "")).toBe(15);
  });
});
