import { describe, expect, it } from "vitest";
import { Tokens } from "./tokens.ts";

describe("Tokens", () => {
  it("gives a request out once", () => {
    const tokens = new Tokens<string>();
    const token = tokens.put("x");
    expect(token).toMatch(/^[\w-]{24}$/);
    expect(tokens.take(token)).toBe("x");
    expect(tokens.take(token)).toBeUndefined();
  });

  it("forgets it after a minute", () => {
    let now = 0;
    const tokens = new Tokens<string>(() => now);
    const old = tokens.put("old");
    now = 30_000;
    const young = tokens.put("young");
    now = 60_000;
    expect(tokens.take(old)).toBeUndefined();
    expect(tokens.take(young)).toBe("young");
    expect(tokens.size).toBe(0);
  });

  it("refuses more than a thousand, and goes on when they have aged", () => {
    let now = 0;
    const tokens = new Tokens<number>(() => now);
    for (let index = 0; index < 1000; index += 1) {
      tokens.put(index);
    }
    expect(() => tokens.put(1000)).toThrow(expect.objectContaining({ code: "resource-exhausted" }));
    now = 60_001;
    expect(tokens.take(tokens.put(1))).toBe(1);
  });
});
