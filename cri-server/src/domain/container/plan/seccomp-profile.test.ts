import { describe, expect, it } from "vitest";
import { runtimeDefaultProfile } from "./seccomp-default.ts";
import { parseSeccompProfile, resolveSeccompProfile } from "./seccomp-profile.ts";

const target = (capabilities: string[] = [], arch: "x64" | "arm64" = "x64", major = 6) => ({
  capabilities: new Set(capabilities),
  arch,
  kernel: { major, minor: 1 },
});
const parse = (profile: object) => parseSeccompProfile(JSON.stringify(profile), "/p.json");
const namesOf = (profile: object, capabilities: string[] = [], arch: "x64" | "arm64" = "x64", major = 6) =>
  resolveSeccompProfile(parse(profile), target(capabilities, arch, major)).rules.flatMap(
    (rule) => rule.names,
  );
const entry = (name: string, extra: object = {}) => ({ names: [name], action: "SCMP_ACT_ALLOW", ...extra });

describe("parseSeccompProfile", () => {
  it("reads Docker's and OCI's fields", () => {
    const profile = parse({
      defaultAction: "SCMP_ACT_ERRNO",
      defaultErrnoRet: 38,
      architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
      flags: [],
      syscalls: [
        { name: "read", action: "SCMP_ACT_LOG", args: null, comment: "" },
        entry("clone", { args: [{ index: 0, value: 2114060288, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }] }),
        { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: 38 },
      ],
    });
    expect(profile.defaultAction).toEqual({ kind: "errno", value: 38 });
    expect(profile.entries.map(({ names, action }) => [names, action.kind])).toEqual([
      [["read"], "log"],
      [["clone"], "allow"],
      [["clone3"], "errno"],
    ]);
    expect(profile.entries[1]?.args).toEqual([
      { index: 0, op: "MASKED_EQ", value: 2114060288n, valueTwo: 0n },
    ]);
  });

  it("keeps all 64 bits of an argument", () => {
    const text = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ERRNO",
      "args":[{"index":1,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}`;
    expect(parseSeccompProfile(text, "p").entries[0]?.args[0]?.value).toBe(0xffff_ffff_ffff_ffffn);
  });

  it.each([
    ["{", "not JSON"],
    ["[]", "not an object"],
    ["{}", "defaultAction is missing"],
    ['{"defaultAction":"SCMP_ACT_FLY"}', "SCMP_ACT_FLY"],
    ['{"defaultAction":"SCMP_ACT_NOTIFY"}', "SCMP_ACT_NOTIFY"],
    ['{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}', "names no system call"],
    ['{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}}', "syscalls is not a list"],
    ['{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":-1}', "defaultErrnoRet"],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":6}]}]}',
      "index",
    ],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1.5,"op":"SCMP_CMP_EQ"}]}]}',
      "64-bit",
    ],
    ['{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/s"}', "listenerPath"],
  ])("refuses %s", (text, message) => {
    expect(() => parseSeccompProfile(text, "/p.json")).toThrow(message);
    expect(() => parseSeccompProfile(text, "/p.json")).toThrow("/p.json");
  });
});

describe("resolveSeccompProfile", () => {
  const base = { defaultAction: "SCMP_ACT_ERRNO" };
  it("takes entries by capability, architecture and kernel", () => {
    const syscalls = [
      entry("a", { includes: { caps: ["CAP_SYS_ADMIN"] } }),
      entry("b", { excludes: { caps: ["CAP_SYS_ADMIN"] } }),
      entry("c", { includes: { arches: ["amd64", "x32"] } }),
      entry("d", { includes: { arches: ["arm64"] } }),
      entry("e", { includes: { minKernel: "5.0" } }),
      entry("f", { excludes: { minKernel: "5.0" } }),
    ];
    const profile = { ...base, syscalls };
    expect(namesOf(profile)).toEqual(["b", "c", "e"]);
    expect(namesOf(profile, ["CAP_SYS_ADMIN"], "arm64", 4)).toEqual(["a", "d", "f"]);
  });

  it("drops rules that repeat the default, and splits two tests of one argument", () => {
    const two = [
      { index: 0, value: 1, op: "SCMP_CMP_EQ" },
      { index: 0, value: 2, op: "SCMP_CMP_EQ" },
    ];
    const syscalls = [entry("a", { args: two }), { names: ["b"], action: "SCMP_ACT_ERRNO", errnoRet: 1 }];
    const { rules } = resolveSeccompProfile(parse({ ...base, syscalls }), target());
    expect(rules.map((rule) => rule.args.map((arg) => arg.value))).toEqual([[1n], [2n]]);
  });

  it("takes this machine's sibling architectures only", () => {
    const archMap = [
      { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
      { architecture: "SCMP_ARCH_AARCH64", subArchitectures: ["SCMP_ARCH_ARM"] },
      { architecture: "SCMP_ARCH_RISCV64", subArchitectures: null },
    ];
    const profile = parse({ ...base, archMap });
    expect(resolveSeccompProfile(profile, target()).subArchitectures).toEqual(["x32", "x86"]);
    expect(resolveSeccompProfile(profile, target([], "arm64")).subArchitectures).toEqual(["arm"]);
  });
});

describe("the built-in RuntimeDefault", () => {
  const names = (capabilities: string[]) =>
    new Set(
      resolveSeccompProfile(runtimeDefaultProfile, target(capabilities)).rules.flatMap((rule) => rule.names),
    );

  it("allows what programs need and leaves out what opens the kernel", () => {
    const usual = names(["CAP_SYS_CHROOT"]);
    for (const name of ["openat", "execve", "futex", "chroot", "clone", "ptrace", "arch_prctl"]) {
      expect(usual).toContain(name);
    }
    for (const name of [
      "mount",
      "unshare",
      "setns",
      "bpf",
      "io_uring_setup",
      "keyctl",
      "userfaultfd",
      "kexec_load",
    ]) {
      expect(usual).not.toContain(name);
    }
  });

  it("gives more with a capability", () => {
    expect(names(["CAP_SYS_ADMIN"])).toContain("mount");
    expect(names(["CAP_SYS_TIME"])).toContain("clock_settime");
    expect(names([])).not.toContain("chroot");
  });

  it("names each call once in its main list", () => {
    const list = runtimeDefaultProfile.entries[0]?.names ?? [];
    expect(new Set(list).size).toBe(list.length);
  });
});
