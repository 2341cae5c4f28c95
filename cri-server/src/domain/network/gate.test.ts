import { expect, it } from "vitest";
import { Gate } from "./gate.ts";

it("lets one alone only when no other is inside, and holds back those that come later", async () => {
  const gate = new Gate();
  const events: string[] = [];
  const first = Promise.withResolvers<void>();
  const work = (name: string, wait?: Promise<void>) => async () => {
    events.push(`+${name}`);
    await wait;
    events.push(`-${name}`);
  };
  const running = [
    gate.shared(work("a", first.promise)),
    gate.shared(work("b")),
    gate.exclusive(work("X", new Promise((resolve) => setTimeout(resolve, 5)))),
    gate.exclusive(work("Y")),
    gate.shared(work("c")),
  ];
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(events).toEqual(["+a", "+b", "-b"]);
  first.resolve();
  await Promise.all(running);
  expect(events).toEqual(["+a", "+b", "-b", "-a", "+X", "-X", "+Y", "-Y", "+c", "-c"]);
});
