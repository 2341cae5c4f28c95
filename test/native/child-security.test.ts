import { copyFile, mkdir, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RootOp } from "../../cri-server/src/model/plan.ts";
import { bindOf, defaultOps, type Fixture, makeFixture, mountTable } from "./container-fixture.ts";

/** Each is a flaw that some runtime had; the names are theirs. */
describe("an image or volume made by an attacker", () => {
  let fixture: Fixture;
  let outside: string;

  beforeAll(async () => {
    fixture = await makeFixture();
    outside = join(fixture.directory, "outside");
    await mkdir(outside);
  });
  afterAll(async () => {
    const left = await readdir(outside);
    await fixture.cleanUp();
    expect(left).toEqual([]);
  });

  /** A layer on top of busybox's with one link in it, the directory of that name below being hidden. */
  async function layerWithLink(name: string, to: string): Promise<string> {
    const layer = join(fixture.directory, "layers", `link-${name.replaceAll("/", "-")}-${to.length}`);
    await mkdir(join(layer, name, ".."), { recursive: true });
    await symlink(to, join(layer, name));
    return layer;
  }

  const up = "../../../../../../../../..";

  it.each(["proc", "sys"])(
    "with /%s as a link is refused (CVE-2019-19921, CVE-2023-27561, CVE-2025-54867)",
    async (name) => {
      for (const to of ["/tmp", up + outside, "etc"]) {
        const plan = await fixture.plan("true");
        const lower = [await layerWithLink(name, to), fixture.layer];
        const end = await fixture.result({ ...plan, rootfs: { ...plan.rootfs, lower } });
        expect(end).toMatchObject({ event: "create-failed", stage: "mount" });
        expect(end.text).toContain(`/${name} has to be a real directory`);
      }
    },
  );

  it("with /proc below a volume is refused (CVE-2019-16884, CVE-2023-28642)", async () => {
    await mkdir(join(fixture.directory, "fake/proc"), { recursive: true });
    const ops = [bindOf(join(fixture.directory, "fake/proc"), "/proc"), ...defaultOps];
    const end = await fixture.result(await fixture.plan("true", { ops }));
    expect(end).toMatchObject({ event: "create-failed", stage: "mount", errno: 1 });
  });

  it("with /dev as a link gets its devices inside the container (CVE-2026-41579, CVE-2026-47766)", async () => {
    for (const to of [up + outside, "/etc"]) {
      const plan = await fixture.plan("ls -l /dev/null | cut -c1; readlink /dev/ptmx");
      const lower = [await layerWithLink("dev", to), fixture.layer];
      const end = await fixture.result({ ...plan, rootfs: { ...plan.rootfs, lower } });
      expect(end).toMatchObject({ event: "exit", out: "c\npts/ptmx\n", err: "" });
    }
    expect(await readdir(outside)).toEqual([]);
  });

  it("with links at device names gets no device through them", async () => {
    const own: readonly RootOp[] = defaultOps.filter((op) => op.op === "device" || op.op === "symlink");
    const plan = await fixture.plan("true", { ops: own });
    const lower = [await layerWithLink("dev/null", `${up}${outside}/null`), fixture.layer];
    const end = await fixture.result({ ...plan, rootfs: { ...plan.rootfs, lower } });
    expect(end).toMatchObject({ event: "create-failed", stage: "device", errno: 17 });
  });

  it("with another /dev/null still has its masked files covered by the host's (CVE-2025-31133)", async () => {
    const proc: readonly RootOp[] = defaultOps.filter(({ target }) => target === "/proc");
    const plan = await fixture.plan("stat -c %t:%T /proc/uptime; cat /proc/uptime | wc -c", {
      ops: [...proc, { op: "mask", target: "/proc/uptime" }],
    });
    const lower = [await layerWithLink("dev/null", "/proc/sys/kernel/core_pattern"), fixture.layer];
    const end = await fixture.result({ ...plan, rootfs: { ...plan.rootfs, lower } });
    expect(end.out).toBe("1:3\n0\n");
  });

  it("with another /dev/console gets no terminal bound through it (CVE-2025-52565)", async () => {
    const ops = defaultOps.filter(({ target }) => target === "/proc" || target === "/dev/pts");
    const plan = await fixture.plan(
      "echo x >/dev/console; ls -l /dev/console | cut -c1",
      { ops },
      { tty: true },
    );
    const lower = [await layerWithLink("dev/console", `${up}${outside}/console`), fixture.layer];
    const end = await fixture.result({ ...plan, rootfs: { ...plan.rootfs, lower } });
    // The link itself is covered, not what it points to.
    expect(end).toMatchObject({ event: "exit", out: "x\r\nc\r\n" });
    expect(await readdir(outside)).toEqual([]);
  });

  it("with a plain file or another device as ptmx gets no terminal", async () => {
    const ops = defaultOps.filter(({ target }) => target === "/proc");
    for (const make of ["file", "link"]) {
      const plan = await fixture.plan("true", { ops }, { tty: true });
      await mkdir(join(plan.rootfs.upper, "dev/pts"), { recursive: true });
      if (make === "file") await writeFile(join(plan.rootfs.upper, "dev/pts/ptmx"), "");
      else await symlink("/dev/ptmx", join(plan.rootfs.upper, "dev/pts/ptmx"));
      const end = await fixture.result(plan);
      expect(end).toMatchObject({ event: "create-failed", stage: "terminal" });
    }
  });

  it("cannot have a descriptor of ours as its working directory (CVE-2024-21626)", async () => {
    for (let fd = 0; fd < 64; fd++) {
      for (const cwd of [`/proc/self/fd/${fd}`, `/proc/self/fd/${fd}/../..`]) {
        const end = await fixture.result(await fixture.plan("pwd", {}, { cwd }));
        expect([cwd, end.event, end.stage]).toEqual([cwd, "create-failed", "cwd"]);
      }
    }
  }, 120_000);

  it("has its working directory made inside, whatever links say (CVE-2024-5154)", async () => {
    const plan = await fixture.plan("pwd -P", {}, { cwd: "/way/out/new/deep" });
    const lower = [await layerWithLink("way", up + outside), fixture.layer];
    const end = await fixture.result({ ...plan, rootfs: { ...plan.rootfs, lower } });
    expect(end.out).toBe(`${outside}/out/new/deep\n`);
    expect(await readdir(outside)).toEqual([]);
  });

  it("sees a file as its cwd refused", async () => {
    const end = await fixture.result(await fixture.plan("true", {}, { cwd: "/etc/passwd" }));
    expect(end).toMatchObject({ event: "create-failed", stage: "cwd", errno: 20, text: "/etc/passwd" });
  });

  it("gains nothing by exchanging a mount point for a link (CVE-2021-30465, CVE-2024-45310)", async () => {
    const volume = join(fixture.directory, "shared");
    await mkdir(join(volume, "a"), { recursive: true });
    await symlink(up + outside, join(volume, "b"));
    const source = join(fixture.directory, "payload");
    await writeFile(source, "payload");
    const plan = await fixture.plan("true", {
      ops: [
        ...defaultOps,
        bindOf(volume, "/v"),
        bindOf(source, "/v/a/x/y/file"),
        { op: "mkdir", target: "/v/a/made/by/us", mode: 0o755 },
        { op: "symlink", target: "/v/a/links/one", to: "/x" },
        { op: "mask", target: "/v/a/x" },
      ],
    });
    const before = await mountTable();
    await fixture.drive("--swap", volume, "--repeat", "400", "--create", plan);
    expect(await readdir(outside)).toEqual([]);
    expect(await mountTable()).toBe(before);
  }, 120_000);

  it("cannot look into a process that is being made (CVE-2016-9962, CVE-2019-5736)", async () => {
    const namespaces = {
      network: "host",
      ipc: "host",
      uts: "host",
      pid: "host",
      cgroup: "new",
      user: "host",
    } as const;
    const created = await fixture.plan("true", { namespaces });
    // One that waits for its start has the same user and capabilities as the one that looks.
    const spy = await fixture.plan(
      "for p in $(grep -l child-driver /proc/[0-9]*/comm | cut -d/ -f3); do echo $p; readlink /proc/$p/exe; for f in /proc/$p/fd/*; do readlink $f; done; cat </proc/$p/exe; done",
      { namespaces },
    );
    const events = await fixture.drive("--create", created, "--create", spy, "--start", "--wait");
    const lines = events.at(-1)?.out?.trim().split("\n");
    expect(lines).toContain(String(events[0]?.pid));
    expect(lines?.filter((line) => !/^\d{3,}$/.test(line))).toEqual([]);
    expect(events.at(-1)?.err).toContain("Permission denied");
  });

  it("finds nothing of the runtime among its own files and descriptors", async () => {
    const plan = await fixture.plan(
      "readlink /proc/1/exe; ls -l /proc/1/fd | grep -v -e pipe -e /dev/null; cat /proc/1/maps | grep -c child-driver",
    );
    const end = await fixture.result(plan);
    expect(end.out).toBe("/bin/busybox\ntotal 0\n0\n");
  });

  it("is not run by the runtime itself through #!/proc/self/exe", async () => {
    const program = join(import.meta.dirname, "../../native/build/child-driver");
    const before = await stat(program);
    const plan = await fixture.plan("sleep 30");
    await mkdir(join(plan.rootfs.upper, "bin"), { recursive: true });
    await writeFile(join(plan.rootfs.upper, "bin/evil"), "#!/proc/self/exe\n", { mode: 0o755 });
    await copyFile("/bin/busybox", join(plan.rootfs.upper, "bin/copy"));
    await fixture.drive(
      "--create",
      plan,
      "--start",
      "--exec",
      fixture.exec(plan, ["/bin/evil"]),
      "--signal",
      "9",
      "--wait",
    );
    const after = await stat(program);
    expect([after.size, after.mtimeMs]).toEqual([before.size, before.mtimeMs]);
  });
});
