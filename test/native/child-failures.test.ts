import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LaunchPlan, ProcessPlan } from "../../cri-server/src/model/plan.ts";
import {
  bindOf,
  cgroupFor,
  defaultOps,
  type Fixture,
  makeFixture,
  mountTable,
  versions,
} from "./container-fixture.ts";

const everything: LaunchPlan["namespaces"] = {
  network: "host",
  ipc: "host",
  uts: "host",
  pid: "new",
  cgroup: "new",
  user: "host",
};

interface Case {
  readonly name: string;
  readonly change?: (plan: LaunchPlan) => Partial<LaunchPlan>;
  readonly process?: Partial<ProcessPlan>;
  readonly stage: string;
  readonly errno: number;
  readonly text: RegExp;
}

const cases: readonly Case[] = [
  {
    name: "a cgroup without parent",
    change: ({ cgroup }) => ({ cgroup: { ...cgroup, mkdirs: [...cgroup.mkdirs, "/sys/fs/cgroup/no/such"] } }),
    stage: "cgroup",
    errno: 2,
    text: /^mkdir \/sys\/fs\/cgroup\/no\/such$/,
  },
  {
    name: "a cgroup that was never made",
    change: ({ cgroup }) => ({ cgroup: { ...cgroup, join: cgroup.join.map((group) => `${group}-absent`) } }),
    stage: "cgroup",
    errno: 2,
    text: /-absent/,
  },
  {
    name: "a missing layer",
    change: ({ rootfs }) => ({ rootfs: { ...rootfs, lower: ["/no/such/layer"] } }),
    stage: "rootfs",
    errno: 2,
    text: /overlay of 1 layers, \/no\/such\/layer first/,
  },
  {
    name: "a missing upper",
    change: ({ rootfs }) => ({ rootfs: { ...rootfs, upper: "/no/such/upper" } }),
    stage: "rootfs",
    errno: 2,
    text: /\/no\/such\/upper/,
  },
  {
    name: "a missing bind source",
    change: () => ({ ops: [...defaultOps, bindOf("/no/such", "/x")] }),
    stage: "mount",
    errno: 2,
    text: /source \/no\/such of \/x/,
  },
  {
    name: "a mount option that nobody knows",
    change: () => ({
      ops: [{ op: "fs", type: "tmpfs", target: "/t", attributes: {}, options: [["colour", "red"]] }],
    }),
    stage: "mount",
    errno: 22,
    text: /tmpfs on \/t: option colour=red/,
  },
  {
    name: "a device that is something else already",
    change: () => ({
      ops: [
        { op: "device", target: "/etc/passwd", type: "c", major: 1, minor: 3, mode: 0o666, uid: 0, gid: 0 },
      ],
    }),
    stage: "device",
    errno: 17,
    text: /\/etc\/passwd \(c 1:3\)/,
  },
  {
    name: "a link where something else is",
    change: () => ({ ops: [{ op: "symlink", target: "/etc/passwd", to: "x" }] }),
    stage: "symlink",
    errno: 17,
    text: /\/etc\/passwd -> x/,
  },
  {
    name: "a directory where a file is",
    change: () => ({ ops: [{ op: "mkdir", target: "/etc/passwd", mode: 0o755 }] }),
    stage: "mkdir",
    errno: 20,
    text: /\/etc\/passwd/,
  },
  {
    name: "a pod namespace that the pod hasn't",
    change: () => ({ namespaces: { ...everything, network: "pod" } }),
    stage: "namespace",
    errno: 9,
    text: /network/,
  },
  {
    name: "a process to join that has gone",
    change: () => ({ namespaces: { ...everything, pid: { joinPid: 2 ** 22 - 1 } } }),
    stage: "namespace",
    errno: 3,
    text: /4194303/,
  },
  {
    name: "a terminal without devpts",
    change: () => ({ ops: [] }),
    process: { tty: true },
    stage: "terminal",
    errno: 2,
    text: /ptmx/,
  },
  {
    name: "a limit that there isn't",
    process: { rlimits: [{ resource: 99, soft: 1n, hard: 1n }] },
    stage: "rlimit",
    errno: 22,
    text: /99/,
  },
  {
    name: "a capability that may not be had",
    process: { capabilities: { bounding: 0n, effective: 1n, permitted: 0n, inheritable: 0n, ambient: 0n } },
    stage: "capabilities",
    errno: 1,
    text: /effective 0x1/,
  },
  {
    name: "an AppArmor profile on a host without",
    process: { apparmor: "none-such" },
    stage: "label",
    errno: 22,
    text: /none-such/,
  },
];

describe.each(versions)("a create that fails, on cgroup v%i", (version) => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = await makeFixture(version);
  });
  afterAll(() => fixture.cleanUp());

  it.each(cases)("for $name says so and leaves nothing", async ({ change, process, stage, errno, text }) => {
    const mounts = await mountTable();
    const plan = await fixture.plan("true", {}, process);
    const whole = { ...plan, ...change?.(plan) };
    const events = await fixture.drive("--create", whole);
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ event: "create-failed", stage, errno });
    expect(events[0]?.text).toMatch(text);
    expect(await mountTable()).toBe(mounts);
    for (const group of plan.cgroup.mkdirs) await expect(stat(group)).rejects.toThrow("ENOENT");
  });

  it.each([
    {
      name: "a filter that is none",
      process: { seccomp: new Uint8Array(8).fill(255) },
      stage: "seccomp",
      errno: 22,
    },
    { name: "a command that is not there", process: { args: ["nope"] }, stage: "exec", errno: 2 },
    { name: "an empty command", process: { args: [""] }, stage: "exec", errno: 2 },
    {
      name: "ambient capabilities that are not permitted",
      process: { capabilities: { bounding: 0n, effective: 0n, permitted: 0n, inheritable: 0n, ambient: 1n } },
      stage: "capabilities",
      errno: 1,
    },
  ])("tells of $name at its start", async ({ process, stage, errno }) => {
    const plan = await fixture.plan("true", {}, process);
    const events = await fixture.drive("--create", plan, "--start", "--wait");
    expect(events.map(({ event }) => event)).toEqual(["create-ready", "start-failed", "exit"]);
    expect(events[1]).toMatchObject({ stage, errno });
    expect(events[2]?.code).toBe(1);
  });

  it("keeps a group that was there before", async () => {
    const cgroup = cgroupFor(version, `berth-child-kept-${process.pid}`);
    for (const group of cgroup.mkdirs) await mkdir(group);
    const plan = await fixture.plan("true", { cgroup, ops: [bindOf("/no/such", "/x")] });
    await fixture.drive("--create", plan);
    for (const group of cgroup.mkdirs) expect((await stat(group)).isDirectory()).toBe(true);
  });

  it("warns of what the host doesn't allow, and goes on", async () => {
    const plan = await fixture.plan("cat /proc/self/oom_score_adj", {}, { oomScoreAdj: -1000 });
    const [ready, , exit] = await fixture.drive("--create", plan, "--start", "--wait");
    // A host with CAP_SYS_RESOURCE does as asked.
    if (exit?.out !== "-1000\n") expect(ready?.warning).toContain("oom_score_adj -1000");
  });

  it("leaves no process", async () => {
    const names = await Promise.all(
      (await readdir("/proc"))
        .filter((name) => /^\d+$/.test(name))
        .map(async (pid) => [
          await readFile(join("/proc", pid, "comm"), "utf8").catch(() => ""),
          await readFile(join("/proc", pid, "stat"), "utf8").catch(() => ""),
        ]),
    );
    expect(names.filter(([comm, state]) => comm === "child-driver\n" && !state?.includes(") Z "))).toEqual(
      [],
    );
  });
});
