import { randomBytes } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tarArchive } from "../lib/tar-archive.ts";
import { describeTree } from "../lib/tree.ts";
import { sanitizedSuffix } from "./container-fixture.ts";
import { UnpackFixture } from "./unpack-fixture.ts";

let fixture: UnpackFixture;
beforeAll(() => {
  fixture = new UnpackFixture();
});
afterAll(async () => {
  await fixture.close();
});

describe("hostile archives", () => {
  const outside = `/var/tmp/berth-unpack-outside-${randomBytes(4).toString("hex")}`;
  beforeAll(() => {
    mkdirSync(outside, { recursive: true });
    writeFileSync(join(outside, "secret"), "secret");
  });
  afterAll(() => rmSync(outside, { recursive: true, force: true }));

  const refused: readonly [string, Parameters<typeof tarArchive>[0], RegExp][] = [
    ["a name with ..", [{ name: "a/../../x" }], /\.\./],
    ["a name of ..", [{ name: ".." }], /\.\./],
    ["a long name with ..", [{ name: "x", longName: "a/../../../x" }], /\.\./],
    ["a pax name with ..", [{ name: "x", pax: { path: "../x" } }], /\.\./],
    ["a whiteout of ..", [{ name: "a/.wh..." }], /./],
    ["a whiteout of .", [{ name: "a/.wh.." }], /names no file/],
    ["a whiteout of nothing", [{ name: "a/.wh." }], /names no file/],
    ["a hard link with ..", [{ name: "x", type: "1", link: "../../etc/passwd" }], /\.\./],
    ["a hard link to nothing", [{ name: "x", type: "1", link: "missing" }], /link.*missing/],
    [
      "a hard link to a directory",
      [
        { name: "d/", type: "5" },
        { name: "x", type: "1", link: "d" },
      ],
      /link/,
    ],
    [
      "a root that is a file",
      [{ name: "./", type: "0", data: "x", damage: (h) => h.write(".\0", 0) }],
      /root/,
    ],
    ["a symbolic link as root", [{ name: ".", type: "2", link: "/etc" }], /root/],
    ["a path through a file", [{ name: "f", data: "x" }, { name: "f/x" }], /not a directory|Not a directory/],
    [
      "a loop of links",
      [{ name: "a", type: "2", link: "b" }, { name: "b", type: "2", link: "a" }, { name: "a/x" }],
      /symbolic links/,
    ],
    ["an unknown type", [{ name: "x", type: "Z" }], /unknown type/],
    ["a wrong checksum", [{ name: "x", checksum: 1 }], /checksum/],
    ["a negative size", [{ name: "x", size: -1 }], /negative/],
    ["a size without data", [{ name: "x", size: 1 << 30 }], /ends inside/],
    ["a huge size", [{ name: "x", size: 1n << 62n }], /./],
    ["a size beyond 64 bits", [{ name: "x", size: 1n << 80n }], /too large/],
    ["a user id beyond 32 bits", [{ name: "x", uid: 2 ** 32 }], /user id/],
    ["the user id that means nobody changed", [{ name: "x", pax: { uid: "4294967295" } }], /user id/],
    ["a negative user id", [{ name: "x", pax: { uid: "-1" } }], /user id/],
    ["a NUL in a pax name", [{ name: "x", pax: { path: "a\0b" } }], /NUL/],
    ["a pax record without a length", [{ name: "x", type: "x", data: "nonsense" }], /record/],
    ["a pax record that is too long", [{ name: "x", type: "x", data: "9999 path=a\n" }], /record/],
    ["a pax record of length 0", [{ name: "x", type: "x", data: "0 path=a\n" }], /record/],
    ["a pax header of a gigabyte", [{ name: "x", type: "x", size: 1 << 30 }], /extended header/],
    ["a long name of a gigabyte", [{ name: "x", type: "L", size: 1 << 30 }], /extended header/],
    ["a part of a name that no file system takes", [{ name: "x", longName: "a".repeat(300) }], /255/],
    ["a name that no system call takes", [{ name: "x", longName: "a/".repeat(3000) }], /4095/],
    [
      "overlapping pieces of a sparse file",
      [{ name: "x", pax: { "GNU.sparse.map": "5,5,0,2", "GNU.sparse.size": "10" } }],
      /sparse/,
    ],
    [
      "a sparse piece behind the end",
      [{ name: "x", data: "12345", pax: { "GNU.sparse.map": "50,5", "GNU.sparse.size": "10" } }],
      /sparse/,
    ],
    ["a sparse length without offset", [{ name: "x", pax: { "GNU.sparse.numbytes": "5" } }], /sparse/],
    [
      "a sparse map longer than its data",
      [{ name: "x", data: "9\n", pax: { "GNU.sparse.major": "1", "GNU.sparse.realsize": "9" } }],
      /sparse|map|archive/,
    ],
  ];
  it.each(refused)("refuses %s", async (_, entries, message) => {
    await expect(fixture.entries(entries)).rejects.toThrow(message);
  });

  it.each([
    ["an absolute link", `${outside}/secret`],
    ["a relative link", `../../../../../..${outside}/secret`],
    ["a link to the root", "/"],
    ["a magic link", `/proc/self/root${outside}`],
    ["a descriptor of the worker", "/proc/self/fd/4"],
  ])("writes nothing through %s", async (_, link) => {
    const before = readFileSync(join(outside, "secret"), "utf8");
    const attempts: Parameters<typeof tarArchive>[0][] = [
      [
        { name: "l", type: "2", link },
        { name: "l", data: "overwritten", mode: 0o777 },
      ],
      [
        { name: "l", type: "2", link },
        { name: "l/x", data: "written" },
      ],
      [{ name: "l", type: "2", link }, { name: "l/.wh.secret" }],
      [
        { name: "l", type: "2", link },
        { name: "h", type: "1", link: "l" },
        { name: "h", data: "overwritten" },
      ],
      [
        { name: "l", type: "2", link },
        { name: "h", type: "1", link: "l/secret" },
      ],
      [
        { name: "l", type: "2", link },
        { name: "l", type: "5", mode: 0o777, uid: 1 },
      ],
      [{ name: "l", type: "2", link }, { name: "l/.wh..wh..opq" }],
    ];
    for (const entries of attempts) {
      await fixture.entries(entries).catch(() => {});
      expect(readFileSync(join(outside, "secret"), "utf8")).toBe(before);
      expect(readdirSync(outside)).toEqual(["secret"]);
      expect(lstatSync(outside).mode & 0o777).toBe(0o755);
    }
  });

  it("keeps absolute names and links inside", async () => {
    const { directory } = await fixture.entries([
      { name: "/etc/", type: "5", mode: 0o755 },
      { name: "/etc/passwd", data: "mine" },
      { name: "abs", type: "2", link: "/etc" },
      { name: "abs/group", data: "through the link" },
      { name: "up", type: "2", link: "../../../../etc" },
      { name: "up/shadow", data: "clamped" },
    ]);
    expect(readdirSync(join(directory, "etc")).sort()).toEqual(["group", "passwd", "shadow"]);
  });

  it("takes no attribute that speaks to overlayfs or to the host's policy", async () => {
    const attribute = (name: string): Record<string, string> => ({ [`SCHILY.xattr.${name}`]: "y" });
    const names = [
      "trusted.overlay.opaque",
      "trusted.overlay.redirect",
      "trusted.x",
      "user.overlay.opaque",
      "security.selinux",
      "security.ima",
    ];
    const { result, directory } = await fixture.entries([
      ...names.map((name, n) => ({ name: `f${n}`, pax: attribute(name) })),
      { name: "d/", type: "5", mode: 0o755, pax: attribute("trusted.overlay.opaque") },
      { name: "ok", pax: attribute("user.fine") },
    ]);
    expect(result.skippedAttributes).toBe(names.length + 1);
    const lines = await describeTree(directory);
    expect(lines.filter((line) => line.xattrs !== "")).toHaveLength(1);
  });

  it("replaces what an earlier entry put there", async () => {
    const { directory } = await fixture.entries([
      { name: "a/", type: "5" },
      { name: "a/b/", type: "5" },
      { name: "a/b/c", data: "1" },
      { name: "a", data: "file now" },
      { name: "s", type: "2", link: "a" },
      { name: "s", data: "not through the link" },
      { name: "f", data: "1" },
      { name: "f", type: "5", mode: 0o711 },
      { name: "f/in", data: "2" },
      { name: "t", data: "first" },
      { name: "t", data: "second" },
    ]);
    expect(readFileSync(join(directory, "a"), "utf8")).toBe("file now");
    expect(readFileSync(join(directory, "s"), "utf8")).toBe("not through the link");
    expect(readFileSync(join(directory, "f/in"), "utf8")).toBe("2");
    expect(readFileSync(join(directory, "t"), "utf8")).toBe("second");
  });

  it("reads sizes and names in every way that they are written", async () => {
    const name = `${"p".repeat(80)}/${"q".repeat(90)}`;
    const { directory } = await fixture.entries([
      { name: "q".repeat(90), prefix: "p".repeat(80), data: "prefix" },
      { name: "old", magic: "\0\0\0\0\0\0", data: "v7" },
      { name: "old-dir/", magic: "\0\0\0\0\0\0" },
      { name: "x", longName: "gnu/long", data: "gnu" },
      { name: "x", pax: { path: "pax/long", size: "3", mtime: "-1.5" }, data: "pax" },
      { name: "base256", mtime: 2 ** 33, uid: 2 ** 21 + 5, data: "b" },
      { name: "global", type: "g", data: "20 comment=something" },
      { name: "contiguous", type: "7", data: "c" },
    ]);
    expect(readFileSync(join(directory, name), "utf8")).toBe("prefix");
    expect(readFileSync(join(directory, "old"), "utf8")).toBe("v7");
    expect(lstatSync(join(directory, "old-dir")).isDirectory()).toBe(true);
    expect(readFileSync(join(directory, "gnu/long"), "utf8")).toBe("gnu");
    expect(lstatSync(join(directory, "pax/long"), { bigint: true }).mtimeNs).toBe(-1_500_000_000n);
    expect(lstatSync(join(directory, "base256"))).toMatchObject({
      uid: 2 ** 21 + 5,
      mtimeMs: 2 ** 33 * 1000,
    });
    expect(readFileSync(join(directory, "contiguous"), "utf8")).toBe("c");
  });
});

describe("limits", () => {
  it("stops a bomb at the bytes that a layer may have", async () => {
    const bomb = tarArchive([{ name: "zeros", data: Buffer.alloc(64 << 20) }]);
    for (const blob of [bomb, gzipSync(bomb), zstdCompressSync(bomb)]) {
      await expect(fixture.blob(blob, { maxBytes: 1 << 20 })).rejects.toThrow(/more than 1048576 bytes/);
    }
    // Behind the archive's end nothing is written, but it is counted.
    const tail = gzipSync(Buffer.concat([tarArchive([]), Buffer.alloc(64 << 20)]));
    await expect(fixture.blob(tail, { maxBytes: 1 << 20 })).rejects.toThrow(/more than 1048576 bytes/);
  });

  it("stops at the number of entries", async () => {
    const many = tarArchive(Array.from({ length: 50 }, (_, n) => ({ name: `f${n}` })));
    await expect(fixture.blob(many, { maxEntries: 49 })).rejects.toThrow(/more than 49 entries/);
    await fixture.blob(many, { maxEntries: 50 });
  });

  it("takes a file of more than 8 GiB when most of it is a hole", async () => {
    const size = 20 * 2 ** 30;
    const { result, directory } = await fixture.entries([
      { name: "big", data: "end", pax: { "GNU.sparse.map": `${size - 3},3`, "GNU.sparse.size": `${size}` } },
    ]);
    expect(lstatSync(join(directory, "big"))).toMatchObject({ size });
    expect(result.diskBytes).toBeLessThan(1 << 20);
  });
});

describe("damage", () => {
  const good = tarArchive([{ name: "file", data: Buffer.alloc(100_000, "abc") }]);
  const flip = (data: Buffer, at: number): Buffer => {
    const copy = Buffer.from(data);
    copy[at] = (copy[at] ?? 0) ^ 0xff;
    return copy;
  };

  it.each([
    ["a cut gzip stream", gzipSync(good).subarray(0, -20), /too early/],
    ["a cut zstd stream", zstdCompressSync(good).subarray(0, -5), /too early|damaged/],
    ["a damaged gzip stream", flip(gzipSync(good), 60), /damaged|archive|too early/],
    ["a gzip member of another length", flip(gzipSync(good), gzipSync(good).length - 2), /checksum is wrong/],
    [
      "a gzip member with another checksum",
      flip(gzipSync(good), gzipSync(good).length - 6),
      /checksum is wrong/,
    ],
    ["a gzip header of an unknown kind", flip(gzipSync(good), 3), /damaged/],
    [
      "a second gzip header of an unknown kind",
      Buffer.concat([gzipSync(good), flip(gzipSync(good), 3)]),
      /unknown flags/,
    ],
    ["a gzip header alone", gzipSync(good).subarray(0, 10), /too early/],
    [
      "a second gzip member that is cut",
      Buffer.concat([gzipSync(good), gzipSync(good).subarray(0, 9)]),
      /too early/,
    ],
    ["zeros behind gzip", Buffer.concat([gzipSync(good), Buffer.alloc(512)]), /damaged/],
    ["a cut archive", good.subarray(0, 5000), /ends inside/],
    ["garbage behind gzip", Buffer.concat([gzipSync(good), Buffer.from("garbage at the end")]), /damaged/],
    ["something else", Buffer.from("<html>not found</html>".repeat(100)), /not an octal|checksum/],
    ["half a header", Buffer.alloc(100, "x"), /ends in the middle/],
  ])("%s is refused", async (_, blob, message) => {
    await expect(fixture.blob(blob)).rejects.toThrow(message);
  });

  // The stream is decompressed ahead of its use.
  it("tells of what is wrong first in the stream", async () => {
    const noise = Buffer.concat(Array.from({ length: 200 }, () => randomBytes(1000)));
    const unsafe = tarArchive([{ name: "a" }, { name: "../b" }, { name: "noise", data: noise }]);
    const damaged = gzipSync(unsafe).subarray(0, -1000);
    for (let round = 0; round < 20; round++) {
      await expect(fixture.blob(damaged)).rejects.toThrow(/has `\.\.` in it/);
    }
  });

  it("never takes the program down, whatever is flipped", async () => {
    const archive = tarArchive([
      { name: "dir/", type: "5", pax: { mtime: "5.5", "SCHILY.xattr.user.a": "b" } },
      { name: "dir/a", data: "content", longName: "dir/long-name" },
      { name: "sparse", data: "12345", pax: { "GNU.sparse.map": "5,5", "GNU.sparse.size": "10" } },
      { name: "link", type: "1", link: "dir/long-name" },
    ]);
    let seed = 12345;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
      return seed % below;
    };
    for (let round = 0; round < 300; round++) {
      const copy = Buffer.from(archive);
      for (let n = random(4); n >= 0; n--) copy[random(copy.length)] = random(256);
      // Any answer will do; none would be "ended without an answer".
      const outcome = await fixture.blob(copy).then(
        () => "",
        (error: unknown) => String(error),
      );
      expect(outcome).not.toMatch(/without an answer/);
    }
  });
});

describe("the service", () => {
  it("refuses paths that lead out of its directories", async () => {
    for (const blob of ["../socket", "/etc/passwd", "../../../../etc/passwd"]) {
      const job = fixture.unpacker.unpack({ blob, maxBytes: 1e9, maxEntries: 10 });
      job.end(1);
      await expect(job.done).rejects.toThrow(/open/);
    }
  });

  it("ends a worker when its pull is cancelled", async () => {
    const { name } = fixture.place(tarArchive([{ name: "x" }]));
    const job = fixture.start(name);
    job.have(100);
    await new Promise((resolve) => setTimeout(resolve, 50));
    job.cancel();
    await expect(job.done).rejects.toThrow(/cancelled/);
    await expect.poll(workers).toHaveLength(1);
  });

  it.skipIf(sanitizedSuffix !== "")("confines every thread of a worker", async () => {
    const { name } = fixture.place(tarArchive([{ name: "x", data: Buffer.alloc(100_000) }]));
    const job = fixture.start(name);
    job.have(2000);
    await expect.poll(workers).toHaveLength(2);
    const tasks = `/proc/${Math.max(...workers().map(Number))}/task`;
    await expect
      .poll(() => readdirSync(tasks).map((task) => status(`${tasks}/${task}`, "Seccomp")))
      .toEqual(["2", "2"]);
    for (const task of readdirSync(tasks)) {
      // chown, dac_override, fowner, fsetid, sys_admin, mknod, setfcap
      expect(status(`${tasks}/${task}`, "CapEff")).toBe("000000008820001b");
      expect(status(`${tasks}/${task}`, "NoNewPrivs")).toBe("1");
    }
    job.cancel();
    await expect.poll(workers).toHaveLength(1);
  });

  it("leaves no mount behind", () => {
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(fixture.top);
    expect(existsSync(join(fixture.top, "layers"))).toBe(true);
  });

  const status = (task: string, field: string): string | undefined =>
    new RegExp(`^${field}:\\s+(\\S+)$`, "m").exec(readFileSync(`${task}/status`, "utf8"))?.[1];

  /** Process numbers of the service and its workers. */
  const workers = (): string[] =>
    readdirSync("/proc").filter((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(fixture.top);
      } catch {
        return false;
      }
    });
});
