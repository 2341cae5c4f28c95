import { describe, expect, it } from "vitest";
import { defaultRlimits, resolveOomScore, resolveResources } from "./limits.ts";

describe("resolveOomScore", () => {
  it.each([
    [-998, 0, true, -998, undefined],
    [-998, 0, false, 0, -998],
    [-998, -998, false, -998, undefined],
    [1000, 0, false, 1000, undefined],
    [undefined, 0, false, 0, undefined],
    [undefined, 200, false, 200, 0],
  ])("%s with the server at %d (may lower: %s) gives %d", (wanted, own, can, value, clampedFrom) => {
    const resources = wanted === undefined ? {} : { oomScoreAdj: wanted };
    expect(resolveOomScore(resources, { oomScoreAdj: own, canLowerOomScore: can })).toEqual({
      value,
      clampedFrom,
    });
  });
});

describe("resolveResources", () => {
  it("adds the configured number of processes where none is named", () => {
    expect(resolveResources({ resources: {} }, 100)).toEqual({ pidsLimit: 100n });
    expect(resolveResources({ resources: { pidsLimit: 5n } }, 100)).toEqual({ pidsLimit: 5n });
    expect(resolveResources({ resources: {} }, 0)).toEqual({});
  });
});

describe("defaultRlimits", () => {
  it.each([
    [524_288n, 1024n, 524_288n],
    [1n << 40n, 1024n, 1_048_576n],
    [100n, 100n, 100n],
  ])("never exceeds the server's own %d", (maxOpenFiles, soft, hard) => {
    expect(defaultRlimits({ maxOpenFiles })).toEqual([{ resource: 7, soft, hard }]);
  });
});
