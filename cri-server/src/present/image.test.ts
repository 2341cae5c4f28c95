import { describe, expect, it } from "vitest";
import { presentUser } from "./image.ts";

describe("an image's user", () => {
  it.each([
    ["", undefined, ""],
    ["0", 0n, ""],
    ["1002", 1002n, ""],
    ["1003:1004", 1003n, ""],
    ["www-data", undefined, "www-data"],
    ["www-data:1004", undefined, "www-data"],
    [":5", undefined, ""],
    ["99999999999999999999", undefined, "99999999999999999999"],
  ])("%j", (user, uid, username) => {
    expect(presentUser(user)).toEqual({ uid: uid === undefined ? undefined : { value: uid }, username });
  });
});
