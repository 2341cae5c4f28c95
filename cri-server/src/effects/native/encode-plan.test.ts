import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { ExecPlan, LaunchPlan, ProcessPlan } from "../../model/plan.ts";
import { encodeExecPlan, encodeLaunchPlan } from "./encode-plan.ts";
import { PlanMagic } from "./ops.gen.ts";

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

describe("encodeLaunchPlan", () => {
  it("starts with what the monitor itself needs", () => {
    const encoded = encodeLaunchPlan(launch);
    let at = 4;
    const text = (): string => {
      const size = encoded.readUInt32LE(at);
      const value = encoded.toString("utf8", at + 4, at + 4 + size);
      expect(encoded[at + 4 + size]).toBe(0);
      at += 4 + size + 1;
      return value;
    };
    expect(encoded.readUInt32LE(0)).toBe(PlanMagic.LAUNCH);
    expect(text()).toBe("c1");
    expect([encoded[at], encoded[at + 1], encoded.readUInt32LE(at + 2)]).toEqual([1, 1, 16384]);
    at += 6;
    expect([text(), text(), text()]).toEqual(["/log", "/exit", "/g/oom"]);
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

describe("the form of a plan", () => {
  const attributes = { readonly: true, nosuid: true, nodev: true, noexec: true };
  const bind = { op: "bind", source: "/b", target: "/b", attributes, propagation: "rshared" } as const;
  const all = { recursive: true, recursiveReadOnly: true, requireShared: true, requireSlave: true };
  const everything: LaunchPlan = {
    ...launch,
    namespaces: { ...launch.namespaces, time: { monotonicSeconds: 1n, boottimeSeconds: -2n } },
    ops: [
      { op: "fs", type: "tmpfs", target: "/t", options: [["size", "1"], ["noswap"]], attributes },
      { ...bind, ...all, idmap: true, create: true, layers: ["/x", "/y"] },
      { op: "device", target: "/d", type: "c", major: 1, minor: 3, mode: 0o666, uid: 4, gid: 5 },
      { op: "symlink", target: "/s", to: "/d" },
      { op: "mkdir", target: "/n", mode: 0o755 },
      { op: "mask", target: "/m" },
      { op: "readonly", target: "/r" },
      {
        op: "hook",
        target: "/h",
        args: ["h"],
        env: ["A=b"],
        state: "{}",
        mountPoint: "/p",
        timeoutSeconds: 9,
      },
    ],
  };

  // Monitors outlive the server that made them, and one of another build reads plans of its own form only. Who changes these
  // digests counts up the last letter of both numbers of PlanMagic (native/ops.json), and says so in the changelog.
  it("changes with its magic number alone", () => {
    const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex").slice(0, 16);
    expect([digest(encodeLaunchPlan(everything)), digest(encodeExecPlan(exec))]).toEqual([
      "44e0276c787e5c76",
      "d7f09dfaa8eddf19",
    ]);
  });
});

describe("encodeExecPlan", () => {
  it("can't be taken for the other kind", () => {
    expect(encodeExecPlan(exec).readUInt32LE(0)).toBe(PlanMagic.EXEC);
  });

  it("keeps the bytes of the environment", () => {
    expect(encodeExecPlan(exec).includes(Buffer.from([0x42, 0x3d, 0xff, 0x00]))).toBe(true);
  });
});
