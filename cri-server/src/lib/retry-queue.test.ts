import { describe, expect, it } from "vitest";
import { RetryQueue } from "./retry-queue.ts";

const policy = { firstMs: 1, longestMs: 2 };

describe("RetryQueue", () => {
  it("repeats a task until it succeeds", async () => {
    const failures: number[] = [];
    const queue = new RetryQueue(policy, (_key, _error, attempt) => failures.push(attempt));
    let left = 3;
    await queue.add("a", async () => {
      left -= 1;
      if (left > 0) {
        throw new Error("busy");
      }
    });
    expect(failures).toEqual([1, 2]);
    expect(queue.has("a")).toBe(false);
  });

  it("joins a task that is there already", async () => {
    const queue = new RetryQueue(policy, () => {});
    let runs = 0;
    const task = async (): Promise<void> => {
      runs += 1;
    };
    await Promise.all([queue.add("a", task), queue.add("a", task)]);
    expect(runs).toBe(1);
  });

  it("ends without further retries when it is closed", async () => {
    const queue = new RetryQueue({ firstMs: 60_000, longestMs: 60_000 }, () => {});
    const added = queue.add("a", () => Promise.reject(new Error("busy")));
    await new Promise((resolve) => setImmediate(resolve));
    await queue.close();
    await added;
    expect(queue.pending()).toEqual([]);
  });
});
