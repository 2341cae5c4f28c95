import { describe, expect, it } from "vitest";
import { limitOf, linkOfShaper } from "./shape.ts";

describe("limitOf", () => {
  it("replaces the burst of runtimes that know none", () => {
    expect(limitOf(8e6, 4294967295, 1500)).toEqual({ bytesPerSecond: 1e6, burst: 65536 });
    expect(limitOf(8e9, undefined, 1500)).toEqual({ bytesPerSecond: 1e9, burst: 4e6 });
  });

  it("keeps a burst that was meant, up to a second of the rate", () => {
    expect(limitOf(80e6, 8e6, 1500).burst).toBe(1e6);
    expect(limitOf(8e6, 80e6, 1500).burst).toBe(1e6);
    expect(limitOf(8e3, 80e6, 1500).burst).toBe(65536);
    expect(limitOf(8e3, 16e3, 1500).burst).toBe(2000);
    expect(limitOf(8e3, 8, 1500).burst).toBe(1600);
  });
});

it("a shaper's alias leads back to its link", () => {
  expect(linkOfShaper("berth shapes veth0123456789a")).toBe("veth0123456789a");
  expect(linkOfShaper("berth net id eth0")).toBeUndefined();
});
