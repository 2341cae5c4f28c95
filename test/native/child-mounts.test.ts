import { execFileSync } from "node:child_process";
import { mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { RootOp } from "../../cri-server/src/model/plan.ts";
import {
  bindOf,
  type DriverEvent,
  defaultOps,
  type Fixture,
  makeFixture,
  mountTable,
} from "./container-fixture.ts";

describe("a container's mounts", () => {
  let fixture: Fixture;
  let mounted: string[] = [];
  let count = 0;

  beforeAll(async () => {
    fixture = await makeFixture();
  });
  afterEach(() => {
    for (const path of mounted.reverse()) execFileSync("umount", ["-l", path]);
    mounted = [];
  });
  afterAll(() => fixture.cleanUp());

  async function directory(): Promise<string> {
    const path = join(fixture.directory, `source-${count++}`);
    await mkdir(path);
    return path;
  }

  function mount(...args: readonly string[]): void {
    execFileSync("mount", [...args]);
    mounted.push(args.at(-1) ?? "");
  }

  async function run(script: string, ...ops: readonly RootOp[]): Promise<DriverEvent> {
    return fixture.result(await fixture.plan(script, { ops: [...defaultOps, ...ops] }));
  }

  it("come from the host, at targets made for them", async () => {
    const source = await directory();
    await writeFile(join(source, "f"), "content\n");
    const end = await run(
      "cat /a/b/c/f /a/file; echo more >/a/b/c/g",
      bindOf(source, "/a/b/c"),
      bindOf(join(source, "f"), "/a/file"),
    );
    expect(end).toMatchObject({ out: "content\ncontent\n", err: "", code: 0 });
    expect(await readdir(source)).toEqual(["f", "g"]);
  });

  it("follow links of the image only inside it, also to what is not there yet", async () => {
    const source = await directory();
    await writeFile(join(source, "f"), "resolv\n");
    const plan = await fixture.plan("cat /run/there/resolv.conf; ls /outside/tmp-of-host", {
      ops: [
        ...defaultOps,
        bindOf(join(source, "f"), "/etc/resolv.conf"),
        bindOf(source, "/link/tmp-of-host"),
      ],
    });
    await mkdir(join(plan.rootfs.upper, "etc"));
    await symlink("../run/there/resolv.conf", join(plan.rootfs.upper, "etc/resolv.conf"));
    await symlink("../../../../../../../../outside", join(plan.rootfs.upper, "link"));
    expect(await fixture.result(plan)).toMatchObject({ out: "resolv\nf\n", err: "", code: 0 });
    await expect(readdir("/outside")).rejects.toThrow("ENOENT");
  });

  it("give up on a loop of links", async () => {
    const plan = await fixture.plan("true", { ops: [...defaultOps, bindOf(await directory(), "/loop/x")] });
    await symlink("loop", join(plan.rootfs.upper, "loop"));
    expect(await fixture.result(plan)).toMatchObject({ event: "create-failed", stage: "mount", errno: 40 });
  });

  it("say which source or target is missing", async () => {
    expect(await run("true", bindOf("/no/such/source", "/x"))).toMatchObject({
      event: "create-failed",
      stage: "mount",
      errno: 2,
      text: "source /no/such/source of /x",
    });
    expect(await run("true", bindOf(await directory(), "/absent", { create: false }))).toMatchObject({
      event: "create-failed",
      errno: 2,
      text: "mount point /absent",
    });
  });

  it("can be read-only, alone or with all below", async () => {
    const source = await directory();
    await mkdir(join(source, "below"));
    mount("-t", "tmpfs", "berth-child", join(source, "below"));
    const script = "touch /v/x; touch /v/below/y && echo below";
    const top = await run(script, bindOf(source, "/v", { attributes: { readonly: true } }));
    expect(top.err).toContain("/v/x: Read-only");
    expect(top.out).toBe("below\n");
    const all = await run(
      script,
      bindOf(source, "/v", { attributes: { readonly: true }, recursiveReadOnly: true }),
    );
    expect(all.err).toContain("/v/below/y: Read-only");
    const none = await run("ls -A /v/below", bindOf(source, "/v", { recursive: false }));
    expect(none.out).toBe("");
  });

  it("keep the flags of their source and add their own", async () => {
    const source = await directory();
    mount("-t", "tmpfs", "-o", "nosuid,nodev", "berth-child", source);
    const end = await run("grep ' /v ' /proc/mounts", bindOf(source, "/v", { attributes: { noexec: true } }));
    expect(end.out).toContain("rw,nosuid,nodev,noexec,relatime");
  });

  it("are private unless asked, and change nothing on the host", async () => {
    const before = await mountTable();
    const source = await directory();
    mount("--bind", source, source);
    mount("--make-shared", source);
    mounted.pop();
    const end = await run(
      "grep ' /v ' /proc/self/mountinfo; grep ' /s ' /proc/self/mountinfo; grep -c shared: /proc/self/mountinfo",
      bindOf(source, "/v"),
      bindOf(source, "/s", { propagation: "rslave", requireSlave: true }),
    );
    const [own, slave, shared] = end.out?.split("\n") ?? [];
    expect(own).not.toMatch(/shared:|master:/);
    expect(slave).toMatch(/master:\d+ - /);
    expect(shared).toBe("0");
    for (const path of mounted.reverse()) execFileSync("umount", ["-l", path]);
    mounted = [];
    expect(await mountTable()).toBe(before);
  });

  it("see later mounts of the host when slaves", async () => {
    const source = await directory();
    await mkdir(join(source, "later"));
    mount("--bind", source, source);
    execFileSync("mount", ["--make-shared", source]);
    const plan = await fixture.plan("until test -e /v/later/mark; do sleep 0.02; done; echo seen", {
      ops: [...defaultOps, bindOf(source, "/v", { propagation: "rslave", requireSlave: true })],
    });
    const command = `mount -t tmpfs berth-child ${source}/later && touch ${source}/later/mark`;
    const events = await fixture.drive("--create", plan, "--start", "--run", command, "--wait");
    execFileSync("umount", [join(source, "later")]);
    expect(events.at(-1)).toMatchObject({ out: "seen\n" });
  });

  it("hand mounts back to the host when shared", async () => {
    const source = await directory();
    await mkdir(join(source, "inside"));
    mount("--bind", source, source);
    execFileSync("mount", ["--make-shared", source]);
    const plan = await fixture.plan(
      "mount -t tmpfs berth-child /v/inside && echo mounted; sleep 30",
      { ops: [...defaultOps, bindOf(source, "/v", { propagation: "rshared", requireShared: true })] },
      {
        capabilities: {
          bounding: 0x200000n,
          effective: 0x200000n,
          permitted: 0x200000n,
          inheritable: 0n,
          ambient: 0n,
        },
      },
    );
    const wait = `for i in $(seq 100); do grep -q ${source}/inside /proc/self/mountinfo && exit 0; sleep 0.02; done; exit 1`;
    const events = await fixture.drive("--create", plan, "--start", "--run", wait, "--signal", "9", "--wait");
    expect(events.map(({ event }) => event)).not.toContain("run-failed");
    execFileSync("umount", [join(source, "inside")]);
  });

  it("are refused when the source is not shared, or no slave, and has to be", async () => {
    const source = await directory();
    mount("-t", "tmpfs", "berth-child", source);
    execFileSync("mount", ["--make-private", source]);
    const shared = await run("true", bindOf(source, "/v", { propagation: "rshared", requireShared: true }));
    expect(shared).toMatchObject({ event: "create-failed", stage: "mount", errno: 22 });
    expect(shared.text).toContain(`path "${source}" is not on a shared mount`);
    const slave = await run("true", bindOf(source, "/v", { propagation: "rslave", requireSlave: true }));
    expect(slave.text).toContain("not on a shared or slave mount");
  });

  it("can be idmapped with the container's user namespace", async () => {
    const source = await directory();
    await writeFile(join(source, "mine"), "");
    const plan = await fixture.plan(
      "ls -n /v/mine | awk '{print $3}'; touch /v/new; ls -n /w/mine | awk '{print $3}'",
      {
        namespaces: { network: "pod", ipc: "pod", uts: "pod", pid: "new", cgroup: "new", user: "pod" },
        ops: [...defaultOps, bindOf(source, "/v", { idmap: true }), bindOf(source, "/w")],
      },
    );
    expect(await fixture.result(plan, "--pod", "net,ipc,uts,user")).toMatchObject({
      out: "0\n65534\n",
      err: "",
      code: 0,
    });
    expect(execFileSync("stat", ["-c", "%u", join(source, "new")], { encoding: "utf8" })).toBe("0\n");
  });

  it("say so when a file system can't be idmapped", async () => {
    const plan = await fixture.plan("true", {
      namespaces: { network: "pod", ipc: "pod", uts: "pod", pid: "new", cgroup: "new", user: "pod" },
      ops: [...defaultOps, bindOf("/sys", "/v", { idmap: true })],
    });
    const end = await fixture.result(plan, "--pod", "net,ipc,uts,user");
    expect(end).toMatchObject({ event: "create-failed", stage: "idmap" });
    expect(end.text).toContain("/sys");
  });

  it("can be an image, or a path inside it that no link leads out of", async () => {
    const layers: string[] = [];
    for (const name of ["one", "two"]) {
      const layer = join(fixture.directory, "layers", `aaaa${name}`);
      await mkdir(join(layer, "data"), { recursive: true });
      await writeFile(join(layer, "data", name), `${name}\n`);
      layers.push(layer);
    }
    await symlink("../../../../../../../..", join(layers[0] ?? "", "out"));
    const image = (source: string, target: string, some = layers): RootOp =>
      bindOf(source, target, { layers: some });
    const end = await run(
      "ls /i /i/data; ls /d; cat /f; ls /one/data; touch /i/x; ls /o",
      image("", "/i"),
      image("data", "/d"),
      image("data/two", "/f"),
      image("", "/one", layers.slice(0, 1)),
      image("out/data", "/o"),
    );
    expect(end.out).toBe("/i:\ndata\nout\n\n/i/data:\none\ntwo\none\ntwo\ntwo\none\none\ntwo\n");
    expect(end.err).toContain("Read-only file system");
    expect(await run("true", image("no/such", "/i"))).toMatchObject({
      event: "create-failed",
      stage: "image-volume",
      errno: 2,
    });
    await rm(join(layers[0] ?? "", "out"));
  });

  it("can be an image in a user namespace", async () => {
    const plan = await fixture.plan("ls -n /i/etc/passwd | awk '{print $3}'; ls /d", {
      namespaces: { network: "pod", ipc: "pod", uts: "pod", pid: "new", cgroup: "new", user: "pod" },
      ops: [
        ...defaultOps,
        bindOf("", "/i", { layers: [fixture.layer], idmap: true }),
        bindOf("etc", "/d", { layers: [fixture.layer], idmap: true }),
      ],
    });
    expect(await fixture.result(plan, "--pod", "net,ipc,uts,user")).toMatchObject({
      out: "0\nnotexec\npasswd\n",
      err: "",
    });
  });

  it("include devices with their owner and mode", async () => {
    const end = await run("ls -ln /dev/sub/own | cut -d' ' -f1", {
      op: "device",
      target: "/dev/sub/own",
      type: "b",
      major: 7,
      minor: 0,
      mode: 0o640,
      uid: 5,
      gid: 6,
    });
    expect(end.out).toBe("brw-r-----\n");
  });

  it("may not cover the root, or anything in /proc but what lxcfs does", async () => {
    const source = await directory();
    await writeFile(join(source, "f"), "fake\n");
    const file = join(source, "f");
    for (const target of [
      "/proc",
      "/proc/",
      "/proc/sys/kernel",
      "/proc/self/attr",
      "/proc/1",
      "/proc/self/cgroup",
    ]) {
      const end = await run("true", bindOf(source, target, { create: false }));
      expect([target, end.event, end.errno]).toEqual([target, "create-failed", 1]);
    }
    expect(await run("true", bindOf(source, "/"))).toMatchObject({ event: "create-failed", errno: 22 });
    expect((await run("cat /proc/uptime", bindOf(file, "/proc/uptime"))).out).toBe("fake\n");
  });
});
