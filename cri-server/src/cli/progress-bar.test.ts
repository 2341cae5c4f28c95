import { describe, expect, it } from "vitest";
import { progressLine, showBytes } from "./progress-bar.ts";

describe("progress", () => {
  it("shows bytes as people read them", () => {
    expect([0, 999, 1000, 1_536_000, 2_000_000_000].map(showBytes)).toEqual([
      "0 B",
      "999 B",
      "1.0 kB",
      "1.5 MB",
      "2.0 GB",
    ]);
  });

  it("fills its bar", () => {
    const digest = `sha256:${"0123456789abcdef".repeat(4)}` as const;
    expect(progressLine({ digest, size: 100, have: 50 })).toBe(
      `sha256:0123456789ab [${"=".repeat(15)}${" ".repeat(15)}] 50 B of 100 B`,
    );
    expect(progressLine({ digest, size: 0, have: 0 })).toContain("=".repeat(30));
  });
});
