import { describe, expect, it } from "vitest";
import { deviceRules, resolveDevices } from "./devices.ts";

const node = (path: string, minor = 0) =>
  ({ path, type: "c", major: 10, minor, mode: 0o660, uid: 0, gid: 20 }) as const;

describe("resolveDevices", () => {
  it("puts one device at the container path", () => {
    const request = { containerPath: "/dev/x", hostPath: "/dev/y", permissions: "rw" };
    expect(resolveDevices(request, [node("/dev/y")])).toEqual([
      { target: "/dev/x", node: node("/dev/y"), access: "rw" },
    ]);
  });

  it("puts a folder's devices below the container path", () => {
    const request = { containerPath: "/dev/snd2", hostPath: "/dev/snd", permissions: "" };
    const resolved = resolveDevices(request, [node("/dev/snd/a"), node("/dev/snd/by/b")]);
    expect(resolved.map(({ target, access }) => [target, access])).toEqual([
      ["/dev/snd2/a", "rwm"],
      ["/dev/snd2/by/b", "rwm"],
    ]);
  });

  it("refuses unknown permissions", () => {
    const request = { containerPath: "", hostPath: "/dev/y", permissions: "rx" };
    expect(() => resolveDevices(request, [])).toThrow('"rx"');
  });
});

describe("deviceRules", () => {
  it("deny all, then allow the usual and what was asked for", () => {
    const rules = deviceRules([{ node: node("/dev/fuse", 229), access: "rw" }], false);
    expect(rules[0]).toMatchObject({ allow: false, type: "a" });
    expect(rules.at(-1)).toEqual({ allow: true, type: "c", major: 10, minor: 229, access: "rw" });
    expect(rules).toContainEqual({ allow: true, type: "c", major: 1, minor: 3, access: "rwm" });
    expect(rules).toContainEqual({ allow: true, type: "c", major: 136, minor: undefined, access: "rwm" });
  });

  it("allow everything to a privileged container", () => {
    expect(deviceRules([], true)).toEqual([
      { allow: true, type: "a", major: undefined, minor: undefined, access: "rwm" },
    ]);
  });
});
