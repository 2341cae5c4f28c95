import { describe, expect, it } from "vitest";
import { toPullAuth } from "./image-ref.ts";

const empty = {
  username: "",
  password: "",
  auth: "",
  serverAddress: "",
  identityToken: "",
  registryToken: "",
};
const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe("credentials of a pull", () => {
  it("takes each form", () => {
    expect(toPullAuth(undefined)).toBeUndefined();
    expect(toPullAuth({ ...empty, username: "u", password: "p" })).toMatchObject({
      username: "u",
      password: "p",
    });
    expect(toPullAuth({ ...empty, auth: base64("u:p:q") })).toMatchObject({ username: "u", password: "p:q" });
    expect(toPullAuth({ ...empty, auth: base64("u:p\0\0") })).toMatchObject({ username: "u", password: "p" });
    expect(toPullAuth({ ...empty, identityToken: "i" })).toMatchObject({ identityToken: "i" });
    expect(toPullAuth({ ...empty, registryToken: "r" })).toMatchObject({ registryToken: "r" });
  });

  it("refuses what it can't read, and does not show it", () => {
    for (const auth of ["!secret!", base64("secret")]) {
      expect(() => toPullAuth({ ...empty, auth })).toThrow(/auth.auth/);
      expect(() => toPullAuth({ ...empty, auth })).not.toThrow(/secret/);
    }
    expect(() => toPullAuth({ ...empty, registryToken: "a\r\nX: y" })).toThrow(/control/);
  });
});
