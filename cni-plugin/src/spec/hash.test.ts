import { expect, it } from "vitest";
import { hashText } from "./hash.ts";

it("names of 200,000 attachments differ in the eleven digits that a link's name has room for", () => {
  const seen = new Set<string>();
  for (let index = 0; index < 200_000; index++) {
    seen.add(hashText("link", "berth", "berth0", `pod${index}`, "eth0").slice(0, 11));
  }
  expect(seen.size).toBe(200_000);
});

it("tells parts apart", () => {
  expect(hashText("ab", "c")).not.toBe(hashText("a", "bc"));
  expect(hashText("a")).toMatch(/^[0-9a-f]{16}$/);
});
