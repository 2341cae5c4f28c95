import { describe, expect, it } from "vitest";
import { writableLimit } from "./writable-limit.ts";

const key = "storage.berth.dev/writable-layer";
const container = (annotations: Record<string, string> = {}) => ({
  metadata: { name: "web", attempt: 0 },
  annotations,
});

describe("writableLimit", () => {
  it.each<[Record<string, string>, Record<string, string>, bigint, bigint]>([
    [{}, {}, 0n, 0n],
    [{}, {}, 5_000_000n, 5_000_000n],
    [{}, { [key]: "1Mi" }, 0n, 1_048_576n],
    [{}, { [key]: "1Mi", [`${key}.web`]: "2Mi", [`${key}.other`]: "3Mi" }, 0n, 2_097_152n],
    [{ [key]: "4M" }, { [`${key}.web`]: "2Mi" }, 0n, 4_000_000n],
    [{ [key]: "4M" }, {}, 1_000_000n, 1_000_000n],
    [{ [key]: "500k" }, {}, 1_000_000n, 500_000n],
  ])("of container %j, pod %j and node %s is %s", (own, pod, node, limit) => {
    expect(writableLimit(container(own), pod, node)).toBe(limit);
  });

  it.each(["", "0", "10", "many", "2Pi", "-1"])("refuses %j", (text) => {
    expect(() => writableLimit(container(), { [key]: text }, 0n)).toThrow(`annotation ${key}`);
  });
});
