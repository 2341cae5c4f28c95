import { describe, expect, it } from "vitest";
import type { ExecPlan, LaunchPlan, ProcessPlan } from "../../model/plan.ts";
import { encodeExecPlan, encodeLaunchPlan } from "./encode-plan.ts";
import { Limit, PlanFlag, PlanMagic } from "./ops.gen.ts";

const process: ProcessPlan = {
  args: ["a"],
  env: ["B=\xff"],
  cwd: "/",
  uid: 1,
  gid: 2,
  groups: [3],
  umask: 0o22,
  capabilities: { bounding: 1n, effective: 2n, permitted: 4n, inheritable: 8n, ambient: 16n },
  noNewPrivileges: true,
  seccomp: new Uint8Array(8),
  apparmor: "",
  selinux: "",
  rlimits: [{ resource: 7, soft: 1n, hard: 2n }],
  oomScoreAdj: -5,
  tty: true,
};

const exec: ExecPlan = { containerId: "c1", cgroup: { version: 2, join: ["/g"] }, process };

const launch: LaunchPlan = {
  containerId: "c1",
  namespaces: { network: "pod", ipc: "pod", uts: "pod", pid: { joinPid: 7 }, cgroup: "new", user: "host" },
  cgroup: {
    version: 1,
    mkdirs: ["/g"],
    writes: [{ path: "/g/x", value: "1", optional: true }],
    join: ["/g", "/h"],
    oomFile: "/g/oom",
    deviceProgramFd: undefined,
  },
  rootfs: { lower: ["/l"], upper: "/u", work: "/w", volatile: true, readonly: false, propagation: "rslave" },
  ops: [{ op: "mask", target: "/m" }],
  process: { ...process, tty: false },
  io: { stdin: true, stdinOnce: true, logPath: "/log", maxLogLine: 16384 },
  exitFile: "/exit",
};

/** The header as native/common/plan_header.h describes it, and what follows. */
function split(encoded: Buffer): { flags: number; maxLogLine: number; texts: string[]; rest: Buffer } {
  expect(encoded.readUInt32LE(0)).toBe(Limit.PLAN_VERSION);
  const length = encoded.readUInt32LE(4);
  const texts: string[] = [];
  let at = 16;
  const text = (): void => {
    const size = encoded.readUInt32LE(at);
    texts.push(encoded.toString("utf8", at + 4, at + 4 + size));
    at += 4 + size;
  };
  for (let i = 0; i < 4; i++) text();
  const groups = encoded.readUInt32LE(at);
  at += 4;
  for (let i = 0; i < groups; i++) text();
  expect(at).toBe(length);
  return {
    flags: encoded.readUInt32LE(8),
    maxLogLine: encoded.readUInt32LE(12),
    texts,
    rest: encoded.subarray(at),
  };
}

describe("encodeLaunchPlan", () => {
  it("puts what the monitor reads in front", () => {
    const { flags, maxLogLine, texts, rest } = split(encodeLaunchPlan(launch));
    expect(flags).toBe(PlanFlag.STDIN | PlanFlag.STDIN_ONCE);
    expect(maxLogLine).toBe(16384);
    expect(texts).toEqual(["c1", "/log", "/exit", "/g/oom", "/g", "/h"]);
    expect(rest.readUInt32LE(0)).toBe(PlanMagic.LAUNCH);
  });

  it("tells a v2 cgroup and a terminal", () => {
    const v2 = encodeLaunchPlan({
      ...launch,
      cgroup: { ...launch.cgroup, version: 2 },
      process,
      io: { ...launch.io, stdin: false, stdinOnce: false },
    });
    expect(split(v2).flags).toBe(PlanFlag.TTY | PlanFlag.CGROUP_V2);
  });

  it("refuses a NUL in a text, which would end it early", () => {
    expect(() => encodeLaunchPlan({ ...launch, ops: [{ op: "mask", target: "/m\0/n" }] })).toThrow(
      RangeError,
    );
    expect(() => encodeLaunchPlan({ ...launch, process: { ...process, args: ["a\0b"] } })).toThrow(/NUL/);
  });

  it("refuses a number that is none", () => {
    expect(() => encodeLaunchPlan({ ...launch, process: { ...process, uid: -1 } })).toThrow(RangeError);
    expect(() => encodeLaunchPlan({ ...launch, process: { ...process, gid: 2 ** 32 } })).toThrow(RangeError);
    expect(() => encodeLaunchPlan({ ...launch, process: { ...process, groups: [1.5] } })).toThrow(RangeError);
  });
});

describe("encodeExecPlan", () => {
  it("has a header of the same shape", () => {
    const { flags, texts, rest } = split(encodeExecPlan(exec));
    expect(flags).toBe(PlanFlag.TTY | PlanFlag.CGROUP_V2);
    expect(texts).toEqual(["c1", "", "", "", "/g"]);
    expect(rest.readUInt32LE(0)).toBe(PlanMagic.EXEC);
  });

  it("keeps the bytes of the environment", () => {
    expect(encodeExecPlan(exec).includes(Buffer.from([0x42, 0x3d, 0xff, 0x00]))).toBe(true);
  });
});
