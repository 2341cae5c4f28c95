import { describe, expect, it } from "vitest";
import { parseChallenges } from "./challenge.ts";

describe("WWW-Authenticate", () => {
  it("reads a token service's challenge", () => {
    expect(
      parseChallenges(
        'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"',
      ),
    ).toEqual([
      {
        scheme: "bearer",
        parameters: {
          realm: "https://auth.example/token",
          service: "reg",
          scope: "repository:a/b:pull,push",
        },
      },
    ]);
  });

  it("reads several, tokens and quoted pairs", () => {
    expect(parseChallenges('Negotiate, Basic realm="a \\"b\\"", BEARER Realm=x')).toEqual([
      { scheme: "negotiate", parameters: {} },
      { scheme: "basic", parameters: { realm: 'a "b"' } },
      { scheme: "bearer", parameters: { realm: "x" } },
    ]);
  });

  it("survives nonsense", () => {
    expect(parseChallenges('="')).toEqual([]);
    expect(parseChallenges("")).toEqual([]);
    expect(parseChallenges('Basic realm="unfinished')[0]?.scheme).toBe("basic");
  });
});
