import { describe, expect, it } from "vitest";
import { bandwidthOf } from "./bandwidth.ts";

describe("bandwidthOf", () => {
  it("reads both directions, with a burst of one timer tick", () => {
    expect(
      bandwidthOf({ "kubernetes.io/ingress-bandwidth": "1G", "kubernetes.io/egress-bandwidth": "10Mi" }),
    ).toEqual({ ingressRate: 1e9, ingressBurst: 4e6, egressRate: 10 * 2 ** 20, egressBurst: 524288 });
  });
  it("is nothing without an annotation", () => {
    expect(bandwidthOf({ other: "1" })).toBeUndefined();
  });
  it.each(["10", "ten", "2P", "-1M", "1X", "", "1M "])("refuses %j", (value) => {
    expect(() => bandwidthOf({ "kubernetes.io/egress-bandwidth": value })).toThrow("egress-bandwidth");
  });
  it.each([
    ["1.5M", 1.5e6],
    ["1e6", 1e6],
    ["5k", 5000],
  ])("reads %s", (value, rate) => {
    expect(bandwidthOf({ "kubernetes.io/egress-bandwidth": value })?.egressRate).toBe(rate);
  });
});
