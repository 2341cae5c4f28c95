import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { NamespacePlan } from "../../cri-server/src/model/plan.ts";
import {
  allCapabilities,
  cgroupFor,
  defaultCapabilities,
  defaultOps,
  type Fixture,
  hasTimeNamespaces,
  isSlow,
  makeFixture,
  versions,
} from "./container-fixture.ts";

const hostNamespaces: NamespacePlan = {
  network: "host",
  ipc: "host",
  uts: "host",
  pid: "new",
  cgroup: "new",
  user: "host",
};
const userNamespaces: NamespacePlan = {
  network: "pod",
  ipc: "pod",
  uts: "pod",
  pid: "new",
  cgroup: "new",
  user: "pod",
};

describe.each(versions)("a container on cgroup v%i", (version) => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = await makeFixture(version);
  });
  afterAll(() => fixture.cleanUp());

  it("runs, writes to both streams and gives its exit code", async () => {
    const end = await fixture.result(await fixture.plan("echo out; echo err >&2; exit 7"));
    expect(end).toMatchObject({ event: "exit", out: "out\n", err: "err\n", code: 7 });
  });

  it("is PID 1, alone, in a session of its own", async () => {
    const end = await fixture.result(
      await fixture.plan("echo $$; ls -d /proc/[0-9]*; cut -d' ' -f5-6 /proc/1/stat"),
    );
    expect(end.out).toMatch(/^1\n\/proc\/1\n(\/proc\/\d+\n)?1 1\n$/);
  });

  it("holds no descriptor but its three", async () => {
    const end = await fixture.result(await fixture.plan("exec ls /proc/1/fd"));
    // The fourth is ls's own, for the directory it lists.
    expect(end.out).toBe("0\n1\n2\n3\n");
  });

  it("is in its groups and sees itself at their root", async () => {
    const plan = await fixture.plan("cat /proc/self/cgroup; sleep 20");
    const events = await fixture.drive(
      ...["--create", plan, "--start", "--run", `cp /proc/$INIT/cgroup ${fixture.directory}/groups`],
      ...["--signal", "9", "--wait"],
    );
    const groups = await readFile(join(fixture.directory, "groups"), "utf8");
    const joined = groups.split("\n").filter((line) => line.endsWith(`/${plan.containerId}`));
    expect(joined).toHaveLength(plan.cgroup.join.length);
    expect(events.at(-1)?.out).not.toContain(plan.containerId);
    expect(events.at(-1)?.code).toBe(137);
  });

  it("has what its process plan says", async () => {
    const plan = await fixture.plan(
      "id -u; id -g; id -G; umask; pwd; ulimit -n; cat /proc/self/oom_score_adj; grep -E '^(Cap|NoNew)' /proc/self/status",
      {},
      {
        uid: 1234,
        gid: 99,
        groups: [99, 5000],
        umask: 0o77,
        cwd: "/made/here",
        rlimits: [{ resource: 7, soft: 77n, hard: 99n }],
        oomScoreAdj: 555,
        capabilities: {
          bounding: 0x401n,
          effective: 0x400n,
          permitted: 0x400n,
          inheritable: 0x400n,
          ambient: 0x400n,
        },
      },
    );
    const end = await fixture.result(plan);
    expect(end.out?.split("\n")).toEqual([
      "1234",
      "99",
      "99 5000",
      "0077",
      "/made/here",
      "77",
      "555",
      "CapInh:\t0000000000000400",
      "CapPrm:\t0000000000000400",
      "CapEff:\t0000000000000400",
      "CapBnd:\t0000000000000401",
      "CapAmb:\t0000000000000400",
      "NoNewPrivs:\t1",
      "",
    ]);
  });

  it("has no inheritable capability and no inherited group unless asked (CVE-2022-24769)", async () => {
    const end = await fixture.result(
      await fixture.plan("grep -E '^(CapInh|CapAmb|Groups)' /proc/self/status"),
    );
    expect(end.out).toBe("Groups:\t \nCapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n");
  });

  it("starts with no signal blocked or ignored", async () => {
    const end = await fixture.result(
      await fixture.plan("", {}, { args: ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"] }),
    );
    expect(end.out).toBe("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  });

  it("applies a seccomp filter with and without no_new_privs", async () => {
    // mkdir(2), 83 on x86-64 and 34 (mkdirat) on arm64, fails with ENOTBLK; all else is allowed.
    const number = process.arch === "x64" ? 83 : 34;
    const filter = Buffer.alloc(32);
    const instruction = (at: number, code: number, jt: number, jf: number, k: number): void => {
      filter.writeUInt16LE(code, at * 8);
      filter.writeUInt8(jt, at * 8 + 2);
      filter.writeUInt8(jf, at * 8 + 3);
      filter.writeUInt32LE(k, at * 8 + 4);
    };
    instruction(0, 0x20, 0, 0, 0);
    instruction(1, 0x15, 0, 1, number);
    instruction(2, 0x06, 0, 0, 0x0005_000f);
    instruction(3, 0x06, 0, 0, 0x7fff_0000);
    for (const noNewPrivileges of [true, false]) {
      for (const uid of [0, 1000]) {
        const none = { bounding: 0n, effective: 0n, permitted: 0n, inheritable: 0n, ambient: 0n };
        const end = await fixture.result(
          await fixture.plan(
            "mkdir /tmp/x; grep -E '^(CapEff|CapPrm|NoNew|Seccomp:)' /proc/self/status",
            {},
            { seccomp: filter, noNewPrivileges, uid, capabilities: none },
          ),
        );
        expect(end.err).toContain("Block device required");
        expect(end.out).toBe(
          `CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t${noNewPrivileges ? 1 : 0}\nSeccomp:\t2\n`,
        );
      }
    }
  });

  it("gets a terminal of its own devpts, and /dev/console is it", async () => {
    const plan = await fixture.plan(
      "tty; test -t 2 && echo tty; echo hello >/dev/console; ls -ln /dev/pts/0; ls -1 /proc/self/fd; echo x >/dev/tty; exit 3",
      {},
      { tty: true, uid: 1000, gid: 1000 },
    );
    const end = await fixture.result(plan);
    expect(end.code).toBe(3);
    expect(end.out).toMatch(
      /^\/dev\/pts\/0\r\ntty\r\nhello\r\ncrw--w---- .* 1000 +5 .*\r\n0\r\n1\r\n2\r\n3\r\nx\r\n$/,
    );
  });

  it("lets its user open its standard streams anew", async () => {
    const script = "echo a >/proc/self/fd/1; echo b >/dev/stderr";
    const end = await fixture.result(await fixture.plan(script, {}, { uid: 1000 }));
    expect(end).toMatchObject({ out: "a\n", err: "b\n", code: 0 });
  });

  it("can have a read-only root", async () => {
    const plan = await fixture.plan("echo x >/x; echo y >/dev/y && cat /dev/y");
    const end = await fixture.result({ ...plan, rootfs: { ...plan.rootfs, readonly: true } });
    expect(end.err).toContain("Read-only file system");
    expect(end.out).toBe("y\n");
  });

  it("works in a user namespace", async () => {
    const plan = await fixture.plan(
      "id -u; ls -ldn / /etc /dev/null | awk '{print $3}'; echo z >>/etc/passwd && touch /new && ls -n /new; " +
        "cat /proc/self/uid_map; mount -t tmpfs x /tmp && echo mounted; echo a >/proc/self/fd/1; echo >/dev/null",
      { namespaces: userNamespaces },
      {
        capabilities: {
          bounding: allCapabilities,
          effective: allCapabilities,
          permitted: allCapabilities,
          inheritable: 0n,
          ambient: 0n,
        },
      },
    );
    const end = await fixture.result(plan, "--pod", "net,ipc,uts,user");
    expect(end.err).toBe("");
    expect(end.out).toMatch(/^0\n0\n0\n0\n-rw-r--r-- +1 0 +0 .*\n +0 +100000 +65536\nmounted\na\n$/);
    expect((await stat(join(plan.rootfs.upper, "new"))).uid).toBe(100000);
  });

  it("gives a user in a user namespace its terminal and streams", async () => {
    const tty = await fixture.plan("tty; id -u", { namespaces: userNamespaces }, { tty: true, uid: 1000 });
    expect((await fixture.result(tty, "--pod", "net,ipc,uts,user")).out).toBe("/dev/pts/0\r\n1000\r\n");
    const plain = await fixture.plan(
      "echo a >/proc/self/fd/1",
      { namespaces: userNamespaces },
      { uid: 1000 },
    );
    expect((await fixture.result(plain, "--pod", "net,ipc,uts,user")).out).toBe("a\n");
  });

  it.skipIf(!hasTimeNamespaces)("counts time from its own start", async () => {
    const plan = await fixture.plan("cut -d. -f1 /proc/uptime", {
      namespaces: { ...hostNamespaces, time: { monotonicSeconds: 5n, boottimeSeconds: 10_000_000n } },
    });
    expect(Number((await fixture.result(plan)).out)).toBeGreaterThan(10_000_000);
  });

  it("joins the pod's PID namespace, or a container's", async () => {
    const plan = await fixture.plan("echo $$", { namespaces: { ...hostNamespaces, pid: "pod" } });
    expect(Number((await fixture.result(plan, "--pod", "pid")).out)).toBeGreaterThan(1);
    const joined = await fixture.plan("ps; readlink /proc/self/ns/pid; readlink /proc/1/ns/pid", {
      namespaces: { ...hostNamespaces, pid: { joinPid: process.pid } },
    });
    expect((await fixture.result(joined)).out).toContain("vitest");
  });

  it("sees the host's processes when it shares their namespace", async () => {
    const plan = await fixture.plan(`test -d /proc/${process.pid} && echo seen`, {
      namespaces: { ...hostNamespaces, pid: "host" },
    });
    expect((await fixture.result(plan)).out).toBe("seen\n");
  });

  it("joins the pod's network, IPC and host name", async () => {
    const plan = await fixture.plan(
      "ls /sys/class/net; for n in net ipc uts; do readlink /proc/self/ns/$n; done",
      {
        namespaces: { ...hostNamespaces, network: "pod", ipc: "pod", uts: "pod" },
      },
    );
    const end = await fixture.result(plan, "--pod", "net,ipc,uts");
    expect(end.out).toMatch(/^lo\nnet:\[\d+\]\nipc:\[\d+\]\nuts:\[\d+\]\n$/);
  });

  it("has a session keyring of its own", async () => {
    const end = await fixture.result(await fixture.plan("cat /proc/keys"));
    expect(end.out).toMatch(/keyring +_ses\.berth-child/);
  });

  it("waits for its start, and goes if its monitor goes first", async () => {
    const plan = await fixture.plan("touch /started");
    const [ready] = await fixture.drive("--create", plan, "--crash");
    expect(ready?.event).toBe("create-ready");
    // Gone, or left to whoever adopts orphans here.
    const state = async (): Promise<string> =>
      (await readFile(`/proc/${ready?.pid}/stat`, "utf8").catch(() => "x) gone"))
        .replace(/^.*\) /, "")
        .slice(0, 1);
    await expect.poll(state).toMatch(/[gZ]/);
    expect(await readdir(plan.rootfs.upper)).not.toContain("started");
  });

  it("outlives its monitor once it runs", async () => {
    const plan = await fixture.plan("sleep 0.3; echo >/survived");
    await fixture.drive("--create", plan, "--start", "--crash");
    await expect.poll(async () => await readdir(plan.rootfs.upper)).toContain("survived");
  });

  it.skipIf(isSlow)("stays within 4 ms up to its start", async () => {
    // A disk that is busy with others' work makes overlayfs wait when it clears a work directory that is used again.
    const memory = await mkdtemp("/dev/shm/berth-child-");
    try {
      const plan = await fixture.plan("true");
      const rootfs = { ...plan.rootfs, upper: join(memory, "upper"), work: join(memory, "work") };
      await Promise.all([mkdir(rootfs.upper), mkdir(rootfs.work)]);
      const [times] = await fixture.drive("--repeat", "60", "--create", { ...plan, rootfs });
      expect(times?.min).toBeLessThan(4);
    } finally {
      await rm(memory, { recursive: true });
    }
  });

  it("cannot open what its device program denies", async () => {
    if (version === 1) return;
    const end = await fixture.drive(
      ...["--deny-devices", "--create", await fixture.plan("cat /dev/zero"), "--start", "--wait"],
    );
    expect(end[0]).toMatchObject({ event: "create-failed", stage: "device" });
  });

  it("takes each of many layers, highest first", async () => {
    const plan = await fixture.plan("cat /which; ls /marks | wc -l");
    const layers: string[] = [];
    for (let i = 0; i < 120; i++) {
      const layer = join(fixture.directory, "layers", `${version}${i.toString(16).padStart(23, "0")}`);
      await mkdir(join(layer, "marks"), { recursive: true });
      await writeFile(join(layer, "marks", String(i)), "");
      await writeFile(join(layer, "which"), `${i}\n`);
      layers.push(layer);
    }
    const end = await fixture.result({
      ...plan,
      rootfs: { ...plan.rootfs, lower: [...layers, fixture.layer] },
    });
    expect(end.out).toBe("0\n120\n");
  });

  it("masks and protects what its plan says", async () => {
    const script =
      "ls -l /proc/timer_list | cut -c1; ls -A /sys/firmware | wc -l; echo 1 >/proc/sys/kernel/hostname; echo 1 >/proc/sys/vm/swappiness";
    const end = await fixture.result(await fixture.plan(script));
    expect(end.out).toBe("c\n0\n");
    expect(end.err?.match(/Read-only file system/g)).toHaveLength(2);
  });

  it("writes settings before the process exists, and says which one fails", async () => {
    const cgroup = cgroupFor(version, `berth-child-writes-${process.pid}`);
    const first = cgroup.mkdirs[0] ?? "";
    const ok = await fixture.plan("true", {
      cgroup: {
        ...cgroup,
        writes: [
          { path: `${first}/no.such.file`, value: "1", optional: true },
          { path: `${first}/cgroup.clone_children`, value: "0", optional: version === 2 },
        ],
      },
    });
    expect(await fixture.result(ok)).toMatchObject({ event: "exit", code: 0 });
    const bad = await fixture.plan("true", {
      cgroup: {
        ...cgroupFor(version, `berth-child-bad-${process.pid}`),
        writes: [{ path: `${first}/no.such.file`, value: "1", optional: false }],
      },
    });
    const end = await fixture.result(bad);
    expect(end).toMatchObject({
      event: "create-failed",
      stage: "cgroup",
      errno: 2,
      text: `write "1" to ${first}/no.such.file`,
    });
    for (const group of bad.cgroup.mkdirs) await expect(stat(group)).rejects.toThrow("ENOENT");
  });
});

it("has a default set of operations that a whole plan can carry", () => {
  expect(defaultOps.length).toBeGreaterThan(20);
  expect(defaultCapabilities).toBeLessThan(allCapabilities);
});
