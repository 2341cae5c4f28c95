import { execFileSync } from "node:child_process";
import { chmod, mkdir, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MonitorHost, RunRequest } from "../../cri-server/src/ports/monitor.ts";
import { type MonitorFixture, makeMonitorFixture } from "./monitor-fixture.ts";

let fixture: MonitorFixture;
let host: MonitorHost;
beforeAll(async () => {
  fixture = await makeMonitorFixture(1);
  host = fixture.host;
});
afterAll(() => fixture.cleanUp());

const sh = (script: string, change: Partial<RunRequest> = {}): RunRequest => ({
  path: "/bin/sh",
  args: ["-c", script],
  env: { PATH: "/bin:/usr/bin", WORD: "höhe" },
  stdin: Buffer.alloc(0),
  timeoutMs: 10_000,
  ...change,
});

describe("run", () => {
  it("passes arguments, environment, directory and stdin, and nothing else", async () => {
    const outcome = await host.run(
      sh('cat; echo "$WORD $PWD" >&2; env | wc -l; ls -l /proc/self/fd; exit 7', {
        stdin: Buffer.from("in\n"),
        cwd: "/tmp",
      }),
    );
    expect(outcome).toMatchObject({ exitCode: 7, timedOut: false });
    expect(outcome.stderr.toString()).toBe("höhe /tmp\n");
    const [echo, variables, , ...fds] = outcome.stdout.toString().trimEnd().split("\n");
    expect([echo, Number(variables) <= 5]).toEqual(["in", true]);
    // stdin, stdout, stderr, and the directory that ls reads.
    expect(fds).toHaveLength(4);
  });

  it("kills the whole group when the time is up", async () => {
    const outcome = await host.run(sh("sleep 321 & echo before; sleep 322", { timeoutMs: 200 }));
    expect(outcome).toMatchObject({ exitCode: 137, timedOut: true });
    expect(outcome.stdout.toString()).toBe("before\n");
    expect(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })).not.toMatch(/sleep 32[12]/);
  });

  it("kills it when cancelled", async () => {
    const abort = new AbortController();
    const outcome = host.run(sh("sleep 323"), abort.signal);
    await sleep(50);
    abort.abort();
    await expect(outcome).rejects.toMatchObject({ code: "cancelled" });
  });

  it("caps what it keeps, and takes large input", async () => {
    const outcome = await host.run(
      sh("wc -c; head -c 6000000 /dev/zero >&2", { stdin: Buffer.alloc(3_000_000) }),
    );
    expect([outcome.stdout.toString().trim(), outcome.stderr.length]).toEqual(["3000000", 4 << 20]);
  });

  it("tells a program that is not there", async () => {
    await expect(host.run(sh("", { path: "/no/such" }))).rejects.toMatchObject({
      message: expect.stringContaining("ENOENT"),
    });
  });
});

describe("readImageFiles", () => {
  it("reads the uppermost regular file, inside the layers only", async () => {
    const low = join(fixture.directory, "layers/low");
    const high = join(fixture.directory, "layers/high");
    await mkdir(join(low, "etc"), { recursive: true });
    await mkdir(join(high, "etc"), { recursive: true });
    await writeFile(join(low, "etc/passwd"), "low");
    await writeFile(join(high, "etc/passwd"), "high");
    await writeFile(join(low, "etc/group"), "group of low");
    await symlink("/etc/group", join(high, "etc/absolute"));
    await symlink("../../../../../../etc/hostname", join(high, "etc/climbing"));
    execFileSync("mkfifo", [join(high, "etc/fifo")]);
    execFileSync("mknod", [join(high, "etc/gone"), "c", "0", "0"]);
    await writeFile(join(low, "etc/gone"), "hidden by a whiteout");
    const names = ["passwd", "group", "absolute", "climbing", "fifo", "gone", "none"];
    const paths = names.map((name) => `/etc/${name}`);
    const texts = (files: readonly (Buffer | undefined)[]) => files.map((file) => file?.toString());
    expect(texts(await host.readImageFiles([low, high], paths, 100))).toEqual([
      "high",
      "group of low",
      "group of low",
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(texts(await host.readImageFiles([low], paths, 3))).toEqual([
      "low",
      "gro",
      undefined,
      undefined,
      undefined,
      "hid",
      undefined,
    ]);
    await expect(host.readImageFiles(["/no/such", low], paths, 3)).rejects.toMatchObject({
      code: "internal",
    });
  });

  it("stands 200 layers", async () => {
    const layers = Array.from({ length: 200 }, (_, index) =>
      join(fixture.directory, "layers", String(index).padStart(24, "0")),
    );
    for (const layer of layers) await mkdir(layer);
    await writeFile(join(layers[0] ?? "", "name"), "lowest");
    const [found] = await host.readImageFiles(layers, ["/name"], 100);
    expect(found?.toString()).toBe("lowest");
  });
});

describe("removeTrees", () => {
  it("removes any depth, follows no link, and takes a missing tree for removed", async () => {
    const tree = join(fixture.directory, "tree");
    const outside = join(fixture.directory, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "kept"), "");
    await mkdir(tree);
    // Deeper than a path may be long.
    const dig = `for (let i = 0; i < 1200; i++) {
      fs.mkdirSync("dddddd"); process.chdir("dddddd"); fs.writeFileSync("file", "");
    }`;
    execFileSync(process.execPath, ["-e", dig], { cwd: tree });
    await mkdir(join(tree, "wide/locked"), { recursive: true });
    for (let index = 0; index < 500; index++) await writeFile(join(tree, "wide", String(index)), "");
    await chmod(join(tree, "wide/locked"), 0);
    await symlink(outside, join(tree, "link"));
    await symlink(outside, join(fixture.directory, "tree-link"));
    await host.removeTrees([tree, join(fixture.directory, "missing"), join(fixture.directory, "tree-link")]);
    await expect(stat(tree)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await readdir(outside)).toEqual(["kept"]);
  });

  it("enters no mount", async () => {
    const tree = join(fixture.directory, "mounted");
    await mkdir(join(tree, "inner"), { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "berth-monitor-test", join(tree, "inner")]);
    await writeFile(join(tree, "inner/kept"), "");
    await expect(host.removeTrees([tree])).rejects.toMatchObject({
      message: expect.stringContaining("EBUSY"),
    });
    expect(await readdir(join(tree, "inner"))).toEqual(["kept"]);
    execFileSync("umount", [join(tree, "inner")]);
    await host.removeTrees([tree]);
    await expect(stat(tree)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("takes many requests at once", async () => {
    const trees = Array.from({ length: 20 }, (_, index) => join(fixture.directory, `many-${index}`));
    for (const tree of trees) await mkdir(join(tree, "a/b"), { recursive: true });
    await Promise.all(trees.map((tree) => host.removeTrees([tree])));
    for (const tree of trees) await expect(stat(tree)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
