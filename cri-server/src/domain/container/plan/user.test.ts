import { describe, expect, it } from "vitest";
import type { UserRequest } from "../../../model/container.ts";
import { maxAccountFileBytes, parseId } from "./accounts.ts";
import { resolveUser } from "./user.ts";

const passwd = Buffer.from(
  [
    "root:x:0:0:root:/root:/bin/sh",
    "www-data:x:33:33:www:/var/www:/bin/false",
    "default-user:x:1000:1000::/home/user:/bin/sh",
    "# comment:x:1:1::/:",
    "5000000000:x:0:0::/root:/bin/sh",
    "broken:x:abc:1::/:",
    "+nis",
    "",
  ].join("\n"),
);
const group = Buffer.from(
  [
    "root:x:0:",
    "www-data:x:33:",
    "extra:x:50000:default-user,root",
    "more:x:50001:default-user",
    "bad:x:x:root",
  ].join("\n"),
);

const resolve = (request: Partial<UserRequest>, imageUser = "") =>
  resolveUser({
    request: { supplementalGroups: [], groupsPolicy: "merge", ...request },
    imageUser,
    passwd,
    group,
  });

describe("resolveUser", () => {
  it.each([
    ["", { uid: 0, gid: 0, groups: [0, 50000], home: "/root" }],
    ["33", { uid: 33, gid: 33, groups: [33], home: "/var/www" }],
    ["www-data", { uid: 33, gid: 33, groups: [33], home: "/var/www" }],
    ["www-data:1004", { uid: 33, gid: 1004, groups: [1004], home: "/var/www" }],
    ["1003:1004", { uid: 1003, gid: 1004, groups: [1004], home: "/" }],
    ["1003", { uid: 1003, gid: 0, groups: [0], home: "/" }],
    ["0:extra", { uid: 0, gid: 50000, groups: [50000], home: "/root" }],
    ["1000", { uid: 1000, gid: 1000, groups: [1000, 50000, 50001], home: "/home/user" }],
    [":33", { uid: 0, gid: 33, groups: [33, 50000], home: "/root" }],
    ["33:", { uid: 33, gid: 33, groups: [33], home: "/var/www" }],
  ])("reads the image's User %j", (imageUser, expected) => {
    expect(resolve({}, imageUser)).toEqual(expected);
  });

  it("puts the request before the image, whose group then plays no part", () => {
    expect(resolve({ uid: 1000n }, "www-data:33")).toMatchObject({ uid: 1000, gid: 1000 });
    expect(resolve({ username: "www-data" }, "1000")).toMatchObject({ uid: 33, gid: 33 });
    expect(resolve({ uid: 1000n, gid: 7n })).toMatchObject({ uid: 1000, gid: 7 });
  });

  it("merges the image's groups or takes only those asked for", () => {
    const asked = { uid: 1000n, supplementalGroups: [1234n, 50000n] };
    expect(resolve({ ...asked, groupsPolicy: "merge" }).groups).toEqual([1000, 1234, 50000, 50001]);
    expect(resolve({ ...asked, groupsPolicy: "strict" }).groups).toEqual([1000, 1234, 50000]);
  });

  // CVE-2024-40635, CVE-2026-46680: a number too large must never wrap to 0 nor be looked up as a name.
  it.each(["4294967295", "4294967296", "5000000000", "-1", "+1", "99999999999999999999", "no-such"])(
    "refuses the image's User %j",
    (user) => {
      expect(() => resolve({}, user)).toThrow(JSON.stringify(user));
      expect(() => resolve({}, `0:${user}`)).toThrow(JSON.stringify(user));
    },
  );

  it.each<[string, Partial<UserRequest>]>([
    ["5000000000", { username: "5000000000" }],
    ["nobody-here", { username: "nobody-here" }],
    ["run_as_username", { username: "" }],
    ["run_as_username", { username: "a\nb" }],
    ["-1", { uid: -1n }],
    ["4294967295", { uid: 4294967295n }],
    ["run_as_group", { uid: 1n, gid: 4294967296n }],
    ["supplemental_groups", { uid: 1n, supplementalGroups: [-5n] }],
    ["run_as_group", { gid: 5n }],
    ["exclude each other", { uid: 1n, username: "root" }],
  ])("names %s when it refuses a request", (message, request) => {
    expect(() => resolve(request)).toThrow(message);
  });

  it("refuses an account file that is too large", () => {
    const huge = Buffer.alloc(maxAccountFileBytes, "x");
    const request: UserRequest = { supplementalGroups: [], groupsPolicy: "merge" };
    expect(() => resolveUser({ request, imageUser: "", passwd: huge, group })).toThrow("/etc/passwd has");
  });

  it("refuses a home with a control character", () => {
    const request: UserRequest = { supplementalGroups: [], groupsPolicy: "merge" };
    const evil = Buffer.from("root:x:0:0:root:/root\r:/bin/sh\n");
    expect(() => resolveUser({ request, imageUser: "", passwd: evil, group })).toThrow("control character");
  });

  it("does without account files", () => {
    const request: UserRequest = { uid: 12n, supplementalGroups: [], groupsPolicy: "merge" };
    const none = Buffer.alloc(0);
    expect(resolveUser({ request, imageUser: "", passwd: none, group: none })).toEqual({
      uid: 12,
      gid: 0,
      groups: [0],
      home: "/",
    });
  });
});

describe("parseId", () => {
  it.each([
    ["0", 0],
    ["4294967294", 4294967294],
    ["4294967295", undefined],
    ["", undefined],
    [" 1", undefined],
    ["0x1", undefined],
    ["1e3", undefined],
    ["00000000001", undefined],
  ])("%j is %j", (text, expected) => {
    expect(parseId(text)).toBe(expected);
  });
});
