import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { giveBackMemory } from "./free-memory.ts";

const mebibyte = 1 << 20;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Runs it through these sizes in MiB, the first at its start, then one a look. Returns the sizes at which it trimmed to `floor`. */
function trims(floor: number, ...sizes: readonly number[]): readonly number[] {
  const at: number[] = [];
  let size = sizes[0] ?? 0;
  giveBackMemory(
    () => size * mebibyte,
    () => {
      at.push(size);
      size = Math.min(size, floor);
    },
  );
  for (size of sizes.slice(1)) vi.advanceTimersByTime(5000);
  return at;
}

it("trims what a burst has left, and lets small changes be", () => {
  expect(trims(81, 80, 81, 83, 104, 82, 84)).toEqual([104]);
});

it("doesn't try again what gave nothing back", () => {
  expect(trims(90, 80, 90, 90, 93)).toEqual([90]);
});

it("knows a burst also when the process has shrunk by itself", () => {
  expect(trims(72, 80, 72, 77)).toEqual([77]);
});
