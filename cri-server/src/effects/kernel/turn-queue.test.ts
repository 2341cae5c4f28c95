import { expect, it } from "vitest";
import { TurnQueue } from "./turn-queue.ts";

const spin = (ms: number) => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

it("runs jobs in order and reports each one's own outcome", async () => {
  const queue = new TurnQueue();
  const order: number[] = [];
  const jobs = [1, 2, 3].map((number) =>
    queue.run(() => {
      order.push(number);
      if (number === 2) throw new Error("two");
      return number;
    }),
  );
  expect(await Promise.allSettled(jobs)).toMatchObject([
    { value: 1 },
    { reason: { message: "two" } },
    { value: 3 },
  ]);
  expect(order).toEqual([1, 2, 3]);
});

it("lets the event loop turn between long jobs", async () => {
  const queue = new TurnQueue(1);
  let turns = 0;
  const tick = () => {
    turns++;
    timer = setImmediate(tick);
  };
  let timer = setImmediate(tick);
  await Promise.all(Array.from({ length: 10 }, () => queue.run(() => spin(1.5))));
  clearImmediate(timer);
  expect(turns).toBeGreaterThanOrEqual(8);
});

it("starts again after it ran dry", async () => {
  const queue = new TurnQueue(0);
  expect(await queue.run(() => 1)).toBe(1);
  expect(await queue.run(() => 2)).toBe(2);
});
