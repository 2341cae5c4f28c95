import { expect, it } from "vitest";
import { Verdicts } from "./verdicts.ts";

it("answers a question once, also when nothing is wrong", () => {
  const verdicts = new Verdicts();
  let asked = 0;
  const ask = (question: unknown, verdict: string | undefined): string | undefined =>
    verdicts.of(question, () => {
      asked += 1;
      return verdict;
    });
  expect(ask({ image: "a", keys: ["k"] }, undefined)).toBeUndefined();
  expect(ask({ image: "a", keys: ["k"] }, "now wrong")).toBeUndefined();
  expect(ask({ image: "a", keys: ["other"] }, "wrong")).toBe("wrong");
  expect(ask({ image: "a", keys: ["other"] }, undefined)).toBe("wrong");
  expect(asked).toBe(2);
});

it("asks again after an error, and what was forgotten", () => {
  const verdicts = new Verdicts();
  expect(() =>
    verdicts.of(0, () => {
      throw new Error("unreadable");
    }),
  ).toThrow("unreadable");
  expect(verdicts.of(0, () => "first")).toBe("first");
  for (let question = 1; question <= 512; question++) verdicts.of(question, () => undefined);
  expect(verdicts.of(0, () => "second")).toBe("second");
  expect(verdicts.of(512, () => "again")).toBeUndefined();
});
