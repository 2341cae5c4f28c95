import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ExecPlan, LaunchPlan, NamespacePlan, ProcessPlan } from "../../cri-server/src/model/plan.ts";
import {
  type DriverEvent,
  type Fixture,
  hasDelegation,
  hasTimeNamespaces,
  isSlow,
  makeFixture,
  versions,
} from "./container-fixture.ts";

const shared: NamespacePlan = {
  network: "host",
  ipc: "host",
  uts: "host",
  pid: "new",
  cgroup: "new",
  user: "host",
};

describe.each(versions)("an exec on cgroup v%i", (version) => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = await makeFixture(version);
  });
  afterAll(() => fixture.cleanUp());

  /** What each exec in a sleeping container gave. */
  async function execs(
    plan: LaunchPlan,
    pod: readonly string[],
    ...all: readonly (readonly [readonly string[], Partial<ProcessPlan>?])[]
  ): Promise<readonly DriverEvent[]> {
    const words: (string | ExecPlan)[] = [];
    for (const [args, change] of all) words.push("--exec", fixture.exec(plan, args, change));
    const events = await fixture.drive(
      ...pod,
      "--create",
      plan,
      "--start",
      ...words,
      "--signal",
      "9",
      "--wait",
    );
    return events.filter(({ event }) => event.startsWith("exec"));
  }

  it("gives output and exit code", async () => {
    const plan = await fixture.plan("sleep 30");
    const [ran, killed] = await execs(
      plan,
      [],
      [["sh", "-c", "echo a; echo b >&2; exit 5"]],
      [["sh", "-c", "kill -15 $$"]],
    );
    expect(ran).toMatchObject({ out: "a\n", err: "b\n", code: 5 });
    expect(killed?.code).toBe(143);
  });

  it("is in all the container's namespaces, groups and root", async () => {
    const plan = await fixture.plan("sleep 30", {
      namespaces: hasTimeNamespaces
        ? { ...shared, time: { monotonicSeconds: 9n, boottimeSeconds: 9n } }
        : shared,
    });
    const script =
      "for n in $(ls /proc/1/ns | grep -v _for_); do readlink /proc/$1/ns/$n; done; cat /proc/$1/cgroup";
    const [self, init] = await execs(
      plan,
      [],
      [["sh", "-c", script, "x", "self"]],
      [["sh", "-c", script, "x", "1"]],
    );
    expect(self?.out).toBe(init?.out);
    expect(self?.out?.split("\n").length).toBeGreaterThan(8);
  });

  it("holds no descriptor but its three", async () => {
    const [ran] = await execs(await fixture.plan("sleep 30"), [], [["ls", "/proc/self/fd"]]);
    expect(ran?.out).toBe("0\n1\n2\n3\n");
  });

  it("has the user, groups, capabilities and limits of its own plan", async () => {
    const capabilities = {
      bounding: 0x21n,
      effective: 0x20n,
      permitted: 0x20n,
      inheritable: 0n,
      ambient: 0n,
    };
    const [ran, plain] = await execs(
      await fixture.plan("sleep 30"),
      [],
      [
        [
          "sh",
          "-c",
          "id -u; id -g; id -G; umask; pwd; cat /proc/self/oom_score_adj; grep ^Cap /proc/self/status",
        ],
        { capabilities, groups: [7, 8], gid: 7, umask: 0o27, cwd: "/tmp", oomScoreAdj: 321 },
      ],
      [["sh", "-c", "id -u; grep ^CapEff /proc/self/status"], { uid: 1000, capabilities }],
    );
    expect(ran?.out?.split("\n")).toEqual([
      "0",
      "7",
      "7 8",
      "0027",
      "/tmp",
      "321",
      "CapInh:\t0000000000000000",
      "CapPrm:\t0000000000000020",
      "CapEff:\t0000000000000020",
      "CapBnd:\t0000000000000021",
      "CapAmb:\t0000000000000000",
      "",
    ]);
    // Without ambient ones, a user other than root has none after execve.
    expect(plain).toMatchObject({ code: 0, event: "exec" });
  });

  it("leads a session of its own", async () => {
    const [ran] = await execs(
      await fixture.plan("sleep 30"),
      [],
      [["sh", "-c", "echo $$; cut -d' ' -f5-7 /proc/$$/stat"]],
    );
    expect(ran?.out).toMatch(/^(\d+)\n\1 \1 0\n$/);
  });

  it("gets a terminal inside the container", async () => {
    const plan = await fixture.plan("sleep 30");
    const [first] = await execs(
      plan,
      [],
      [["sh", "-c", "tty; ls -1 /proc/self/fd; echo x >/dev/tty; exit 4"], { tty: true, uid: 33 }],
    );
    expect(first).toMatchObject({ terminal: true, code: 4 });
    expect(first?.out).toMatch(/^\/dev\/pts\/0\r\n0\r\n1\r\n2\r\n3\r\nx\r\n$/);
  });

  it("works in a user namespace", async () => {
    const plan = await fixture.plan("sleep 30", {
      namespaces: { ...shared, network: "pod", ipc: "pod", uts: "pod", user: "pod" },
    });
    const [ran, tty] = await execs(
      plan,
      ["--pod", "net,ipc,uts,user"],
      [["sh", "-c", "id -u; touch /e && ls -n /e | awk '{print $3}'; echo q >/proc/self/fd/1"], { uid: 0 }],
      [["sh", "-c", "tty; id -u"], { uid: 1000, tty: true }],
    );
    expect(ran?.out).toBe("0\n0\nq\n");
    expect(tty?.out).toBe("/dev/pts/0\r\n1000\r\n");
  });

  it("says what was not found, as its shell would: 127 and 126", async () => {
    const found = await execs(
      await fixture.plan("sleep 30"),
      [],
      [["foo"]],
      [["/no/such"]],
      [["/etc/notexec"]],
      [["notexec"], { env: ["PATH=/etc"] }],
      [["/etc"]],
      [["/bin/busybox"], { cwd: "/nowhere" }],
    );
    expect(found.map(({ stage, errno, text }) => [stage, errno, text])).toEqual([
      ["exec", 2, 'exec: "foo": executable file not found in $PATH'],
      ["exec", 2, 'exec: "/no/such": stat /no/such: no such file or directory'],
      ["exec", 13, 'exec: "/etc/notexec": permission denied'],
      ["exec", 13, 'exec: "notexec": permission denied'],
      ["exec", 21, 'exec: "/etc": is a directory'],
      ["cwd", 2, "/nowhere"],
    ]);
  });

  it("looks for the command as its user", async () => {
    const plan = await fixture.plan(
      "mkdir -m 700 /secret && cp /bin/busybox /secret/tool && touch /ready && sleep 30",
    );
    const words = [
      "--create",
      plan,
      "--start",
      "--run",
      `until test -e ${plan.rootfs.upper}/ready; do sleep 0.01; done`,
    ] as const;
    const change = { env: ["PATH=/secret:/nowhere"], uid: 1000 };
    const events = await fixture.drive(
      ...words,
      "--exec",
      fixture.exec(plan, ["tool"], change),
      "--signal",
      "9",
      "--wait",
    );
    expect(events.find(({ event }) => event === "exec-failed")?.text).toBe('exec: "tool": permission denied');
  });

  it("refuses a working directory outside of the container (CVE-2024-21626)", async () => {
    const plan = await fixture.plan("sleep 30");
    const tries = Array.from({ length: 30 }, (_, fd) => [["pwd"], { cwd: `/proc/self/fd/${fd}` }] as const);
    for (const { event, stage } of await execs(plan, [], ...tries)) {
      expect([event, stage]).toEqual(["exec-failed", "cwd"]);
    }
  });

  it("does not follow a link of the image out of it", async () => {
    const plan = await fixture.plan("sleep 30");
    await symlink("../../../../../..", join(plan.rootfs.upper, "up"));
    await mkdir(join(plan.rootfs.upper, "tmp"), { recursive: true });
    const [ran] = await execs(plan, [], [["sh", "-c", "pwd; ls bin/busybox"], { cwd: "/up" }]);
    expect(ran?.out).toBe("/\nbin/busybox\n");
  });

  it("fails when the container has ended, and leaves nothing", async () => {
    const plan = await fixture.plan("true");
    const events = await fixture.drive(
      "--create",
      plan,
      "--start",
      "--run",
      "sleep 0.2",
      "--exec",
      fixture.exec(plan, ["true"]),
    );
    expect(events.at(-1)).toMatchObject({ event: "exec-failed", stage: "namespace" });
  });

  it.skipIf(version === 1 || !hasDelegation)(
    "runs beside a group below the container's, where its init has gone",
    async () => {
      const plan = await fixture.plan("sleep 30");
      const group = plan.cgroup.join[0] ?? "";
      const run = [
        `mkdir ${group}/leaf`,
        `echo $INIT >${group}/leaf/cgroup.procs`,
        // Any controller does: it is what forbids processes in a group that has groups below it.
        `set -- $(cat ${group}/cgroup.controllers)`,
        `test -n "$1" && echo "+$1" >${group}/cgroup.subtree_control`,
      ].join(" && ");
      const events = await fixture.drive(
        ...[
          "--create",
          plan,
          "--start",
          "--run",
          run,
          "--exec",
          fixture.exec(plan, ["cat", "/proc/1/cgroup", "/proc/self/cgroup"]),
        ],
        ...["--signal", "9", "--wait", "--run", `rmdir ${group}/leaf`],
      );
      const lines = events.find(({ event }) => event.startsWith("exec"))?.out?.match(/^0::.*$/gm);
      expect(events.map(({ event }) => event)).not.toContain("run-failed");
      expect(lines).toEqual(["0::/leaf", "0::/leaf"]);
    },
  );

  it.skipIf(isSlow)("is done in 1.3 ms", async () => {
    const plan = await fixture.plan("sleep 30");
    const events = await fixture.drive(
      ...[
        "--create",
        plan,
        "--start",
        "--repeat",
        "60",
        "--exec",
        fixture.exec(plan, ["/bin/busybox", "true"]),
      ],
      ...["--signal", "9", "--wait"],
    );
    expect(events.find(({ event }) => event === "exec-times")?.min).toBeLessThan(1.3);
  });
});
