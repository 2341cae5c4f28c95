import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runtimeDefaultProfile } from "../../cri-server/src/domain/container/plan/seccomp-default.ts";
import {
  parseSeccompProfile,
  resolveSeccompProfile,
} from "../../cri-server/src/domain/container/plan/seccomp-profile.ts";
import { LibseccompFilters } from "../../cri-server/src/effects/kernel/seccomp.ts";

/** struct seccomp_data's architectures and what a filter answers. */
const x64 = 0xc000003e;
const i386 = 0x40000003;
const allow = 0x7fff0000;
const eperm = 0x50001;
const enosys = 0x50026;

/** Runs a classic BPF filter as the kernel would for one system call. */
function decide(filter: Uint8Array, arch: number, number: number, args: readonly bigint[] = []): number {
  const code = Buffer.from(filter);
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(arch, 4);
  for (const [index, value] of args.entries()) data.writeBigUInt64LE(value, 16 + index * 8);
  let accumulator = 0;
  for (let at = 0; ; at++) {
    const constant = code.readUInt32LE(at * 8 + 4);
    const jump = (taken: boolean) => code.readUInt8(at * 8 + (taken ? 2 : 3));
    switch (code.readUInt16LE(at * 8)) {
      case 0x20:
        accumulator = data.readUInt32LE(constant);
        break;
      case 0x54:
        accumulator = (accumulator & constant) >>> 0;
        break;
      case 0x05:
        at += constant;
        break;
      case 0x15:
        at += jump(accumulator === constant);
        break;
      case 0x25:
        at += jump(accumulator > constant);
        break;
      case 0x35:
        at += jump(accumulator >= constant);
        break;
      case 0x45:
        at += jump((accumulator & constant) !== 0);
        break;
      case 0x06:
        return constant;
      default:
        throw new Error(`opcode ${code.readUInt16LE(at * 8).toString(16)}`);
    }
  }
}

const target = (...capabilities: string[]) =>
  ({ capabilities: new Set(capabilities), arch: "x64", kernel: { major: 6, minor: 18 } }) as const;

let directory: string;
let filters: LibseccompFilters;
beforeAll(() => {
  directory = mkdtempSync("/tmp/berth-test-plan-seccomp-");
  filters = new LibseccompFilters(directory);
});
afterAll(() => rmSync(directory, { recursive: true }));

const runsHere = process.arch === "x64";

describe.skipIf(!runsHere)("the built-in RuntimeDefault, compiled", () => {
  const compile = async (...capabilities: string[]) =>
    (await filters.compile(resolveSeccompProfile(runtimeDefaultProfile, target(...capabilities)))).bytes;

  it.each<[string, number, number, readonly bigint[], number]>([
    ["openat", x64, 257, [], allow],
    ["mount", x64, 165, [], eperm],
    ["io_uring_setup", x64, 425, [], eperm],
    ["chroot without the capability", x64, 161, [], eperm],
    ["socket AF_INET", x64, 41, [2n], allow],
    ["socket AF_ALG (CVE-2026-31431)", x64, 41, [38n], eperm],
    ["socket AF_NFC", x64, 41, [39n], allow],
    ["socket AF_VSOCK", x64, 41, [40n], eperm],
    ["socket AF_XDP", x64, 41, [44n], allow],
    ["socket AF_ALG with a bit that the kernel cuts off", x64, 41, [(1n << 32n) + 38n], eperm],
    ["socket AF_VSOCK with a bit that the kernel cuts off", x64, 41, [(1n << 63n) + 40n], eperm],
    ["a thread", x64, 56, [0x3d0f00n], allow],
    ["clone into a new user namespace", x64, 56, [0x1000_0000n], eperm],
    ["clone3, for libc to fall back", x64, 435, [], enosys],
    ["personality 0", x64, 135, [0n], allow],
    ["personality ADDR_NO_RANDOMIZE", x64, 135, [0x4_0000n], eperm],
    ["mseal, which this libseccomp doesn't know", x64, 462, [], allow],
    ["a call of the future", x64, 5000, [], enosys],
    ["x32's read", x64, 0x4000_0000, [], enosys],
    ["another machine's call", 0x1234, 0, [], enosys],
    ["i386 open", i386, 5, [], allow],
    ["i386 mount", i386, 21, [], eperm],
    ["i386 socketcall, which hides the family", i386, 102, [1n], enosys],
    ["i386 socket AF_INET", i386, 359, [2n], allow],
    ["i386 socket AF_ALG", i386, 359, [38n], eperm],
    ["i386 call of the future", i386, 5000, [], enosys],
  ])("decides %s", async (_, arch, number, args, expected) => {
    expect(decide(await compile(), arch, number, args)).toBe(expected);
  });

  it("gives more to a container with more capabilities", async () => {
    const admin = await compile("CAP_SYS_ADMIN", "CAP_SYS_CHROOT");
    expect(decide(admin, x64, 165)).toBe(allow);
    expect(decide(admin, x64, 161)).toBe(allow);
    expect(decide(admin, x64, 435)).toBe(allow);
    expect(decide(admin, x64, 56, [0x1000_0000n])).toBe(allow);
  });
});

describe.skipIf(!runsHere)("a profile of one's own", () => {
  const compile = async (profile: object) => {
    const parsed = parseSeccompProfile(JSON.stringify(profile), "/p.json");
    return (await filters.compile(resolveSeccompProfile(parsed, target()))).bytes;
  };

  it("may forbid single calls", async () => {
    const filter = await compile({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["sethostname", "not_a_call"], action: "SCMP_ACT_ERRNO", errnoRet: 13 }],
    });
    expect(decide(filter, x64, 170)).toBe(0x50000 + 13);
    expect(decide(filter, x64, 0)).toBe(allow);
    expect(decide(filter, x64, 5000)).toBe(allow);
  });

  it("has every comparison, at 64 bits", async () => {
    const big = 0x1_0000_0005n;
    const test = (op: string, value: bigint, valueTwo = 0n) => ({
      index: 1,
      value: Number(value),
      valueTwo: Number(valueTwo),
      op: `SCMP_CMP_${op}`,
    });
    const rules: readonly (readonly [string, object])[] = [
      ["getpid", test("EQ", big)],
      ["getppid", test("NE", big)],
      ["getuid", test("LT", big)],
      ["getgid", test("LE", big)],
      ["geteuid", test("GE", big)],
      ["getegid", test("GT", big)],
      ["getpgrp", test("MASKED_EQ", 0xf0n, 0x10n)],
    ];
    const filter = await compile({
      defaultAction: "SCMP_ACT_KILL_PROCESS",
      syscalls: rules.map(([name, arg]) => ({ names: [name], action: "SCMP_ACT_ALLOW", args: [arg] })),
    });
    const allowed = (number: number, value: bigint) => decide(filter, x64, number, [0n, value]) === allow;
    expect([big - 1n, big, big + 1n, 5n].map((value) => allowed(39, value))).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect([big, 5n].map((value) => allowed(110, value))).toEqual([false, true]);
    expect([big - 1n, big].map((value) => allowed(102, value))).toEqual([true, false]);
    expect([big, big + 1n].map((value) => allowed(104, value))).toEqual([true, false]);
    expect([big - 1n, big].map((value) => allowed(107, value))).toEqual([false, true]);
    expect([big, big + 1n].map((value) => allowed(108, value))).toEqual([false, true]);
    expect([0x15n, 0x25n].map((value) => allowed(111, value))).toEqual([true, false]);
    expect(decide(filter, x64, 0)).toBe(0x80000000);
  });
});

describe.skipIf(!runsHere)("the store of filters", () => {
  const program = resolveSeccompProfile(runtimeDefaultProfile, target("CAP_SYS_TIME"));

  it("compiles a program once, and finds it again after a restart", async () => {
    const [first, second] = await Promise.all([filters.compile(program), filters.compile(program)]);
    expect(first).toBe(second);
    const again = await new LibseccompFilters(directory).load(first.key);
    expect(Buffer.from(again.bytes).equals(Buffer.from(first.bytes))).toBe(true);
  });

  it("never loads a damaged filter, but compiles it anew", async () => {
    const { key, bytes } = await filters.compile(program);
    const path = join(directory, key);
    const damaged = readFileSync(path);
    damaged[100] = (damaged[100] ?? 0) ^ 1;
    writeFileSync(path, damaged);
    await expect(new LibseccompFilters(directory).load(key)).rejects.toThrow("missing or damaged");
    const anew = await new LibseccompFilters(directory).compile(program);
    expect(Buffer.from(anew.bytes).equals(Buffer.from(bytes))).toBe(true);
    expect(readdirSync(directory).filter((name) => name.endsWith(".new"))).toEqual([]);
  });

  it("takes no key that is a path", async () => {
    await expect(filters.load("../x")).rejects.toThrow("not a key");
    await expect(filters.load("0".repeat(64))).rejects.toThrow("missing");
  });

  it("does not hold up the event loop while it compiles", async () => {
    let worst = 0;
    let last = performance.now();
    let running = true;
    const watch = () => {
      worst = Math.max(worst, performance.now() - last);
      last = performance.now();
      if (running) setImmediate(watch);
    };
    watch();
    const start = performance.now();
    await filters.compile(
      resolveSeccompProfile(runtimeDefaultProfile, target("CAP_SYS_BOOT", "CAP_SYS_PACCT")),
    );
    running = false;
    console.log(
      `compiled in ${(performance.now() - start).toFixed(1)} ms, longest turn ${worst.toFixed(1)} ms`,
    );
    expect(worst).toBeLessThan(15);
  });
});
