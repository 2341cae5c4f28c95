import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tarArchive } from "../lib/tar-archive.ts";
import { describeTree, type TreeLine } from "../lib/tree.ts";
import { UnpackFixture } from "./unpack-fixture.ts";

const sha256 = (data: Buffer): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;

let fixture: UnpackFixture;
beforeAll(() => {
  fixture = new UnpackFixture();
});
afterAll(async () => {
  await fixture.close();
});

/** One of everything that a file system can hold. */
function makeTree(top: string): void {
  const long = "long-".repeat(30);
  execFileSync(
    "bash",
    [
      "-euc",
      `mkdir -p "$1" && cd "$1"
       mkdir -p dir/sub "${long}/${long}" sticky private
       chmod 1777 sticky; chmod 700 private; chmod 2750 dir; chown 12:34 dir
       echo content >dir/file; chmod 640 dir/file; chown 1000:1001 dir/file
       cp /bin/true setuid; chown 5:6 setuid; chmod 6755 setuid
       : >empty; head -c 3000000 /dev/urandom >random; ln random hard; ln random dir/hard
       ln -s ../nowhere/at/all dir/dangling; ln -s "${long}/${long}" longlink; chown -h 77:88 longlink
       mkfifo fifo; mknod char c 1 3; mknod block b 7 200; chmod 600 block
       echo x >"${long}/${long}/file"
       printf 'a' >'name with spaces and ü'; printf 'b' >"$(printf 'new\\nline')"; printf c >"$(printf 'bytes\\377')"
       truncate -s 8M sparse; printf data | dd of=sparse bs=1 seek=4000000 conv=notrunc status=none
       truncate -s 1M hole
       python3 - <<'PY'
import os
os.setxattr("dir/file", "user.note", b"\\0\\1=\\n")
os.setxattr("dir", "user.directory", b"yes")
os.setxattr("random", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
for path, when in (("dir/file", 1234567890123456789), ("dir", 999999999000000001), ("empty", -5_500_000_000), ("sticky", 0)):
    os.utime(path, ns=(when, when))
PY`,
      "tree",
      top,
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
}

/** An archive without sparse entries has zeros instead of holes. */
const dense = (line: TreeLine): TreeLine => ({ ...line, content: line.content.replace(/ sparse$/, "") });

describe("a layer's content", () => {
  const source = "/var/tmp/berth-unpack-tree";
  let expected: readonly TreeLine[];
  beforeAll(async () => {
    makeTree(source);
    expected = await describeTree(source);
  });
  afterAll(() => rmSync(source, { recursive: true, force: true }));

  const archive = (...options: string[]): Buffer =>
    execFileSync("tar", ["-C", source, "-cf", "-", ...options, "."], { maxBuffer: 1 << 28 });

  it.each([
    ["pax", ["--format=pax", "--xattrs", "--xattrs-include=*"]],
    [
      "pax, sparse 1.0",
      ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=1.0"],
    ],
    [
      "pax, sparse 0.1",
      ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=0.1"],
    ],
    [
      "pax, sparse 0.0",
      ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", "--sparse-version=0.0"],
    ],
  ])("comes out of %s as it went in", async (_, options) => {
    const blob = archive(...options);
    const { result, directory } = await fixture.blob(blob);
    expect(result).toMatchObject({
      blob: sha256(blob),
      diffId: sha256(blob),
      bytes: blob.length,
      impliedDirectories: 0,
    });
    const sparse = options.includes("--sparse");
    const wanted = sparse ? expected : expected.map(dense);
    expect(await describeTree(directory)).toEqual(wanted);
  });

  it.each([["gnu"], ["gnu, sparse"]])(
    "comes out of %s, which keeps no fractions and attributes",
    async (name) => {
      const { directory } = await fixture.blob(
        archive("--format=gnu", ...(name === "gnu" ? [] : ["--sparse"])),
      );
      const coarse = (line: TreeLine): TreeLine => ({
        ...dense(line),
        mtimeNs:
          (line.mtimeNs - (((line.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n)) /
          1_000_000_000n,
        xattrs: "",
      });
      expect((await describeTree(directory)).map(coarse)).toEqual(expected.map(coarse));
      for (const path of ["random", "sparse", "dir/file", "hole"]) {
        expect(readFileSync(join(directory, path)).equals(readFileSync(join(source, path)))).toBe(true);
      }
      expect(lstatSync(join(directory, "sparse")).blocks < 16_000).toBe(name !== "gnu");
      expect(lstatSync(join(directory, "hard")).ino).toBe(lstatSync(join(directory, "random")).ino);
      expect(lstatSync(join(directory, "setuid")).mode & 0o7777).toBe(0o6755);
    },
  );

  it("is the same through every compression", async () => {
    const plain = archive("--format=pax", "--xattrs", "--xattrs-include=*");
    const half = Math.floor(plain.length / 2) + 7;
    const compressed: Record<string, Buffer> = {
      gzip: gzipSync(plain),
      "gzip, two members": Buffer.concat([gzipSync(plain.subarray(0, half)), gzipSync(plain.subarray(half))]),
      zstd: zstdCompressSync(plain),
      "zstd, two frames and a skippable one": Buffer.concat([
        zstdCompressSync(plain.subarray(0, half)),
        Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]),
        zstdCompressSync(plain.subarray(half)),
      ]),
    };
    for (const [name, blob] of Object.entries(compressed)) {
      const { result, directory } = await fixture.blob(blob);
      expect(result, name).toMatchObject({ blob: sha256(blob), diffId: sha256(plain) });
      expect((await describeTree(directory)).length, name).toBe(expected.length);
    }
  });

  it("can arrive in any portions", async () => {
    const plain = archive("--format=pax");
    const blob = gzipSync(plain);
    const { name, size } = fixture.place(blob);
    const job = fixture.start(name);
    for (const have of [0, 1, 3, 17, 18, 700, 4096, 4096, Math.floor(size / 2), size - 1]) {
      job.have(have);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    job.end(size);
    expect(await job.done).toMatchObject({ blob: sha256(blob), diffId: sha256(plain) });
  });

  it("may be nothing at all", async () => {
    for (const blob of [
      Buffer.alloc(0),
      Buffer.alloc(1024),
      gzipSync(Buffer.alloc(0)),
      gzipSync(Buffer.alloc(10_240)),
    ]) {
      const { result, directory } = await fixture.blob(blob);
      expect(result.blob).toBe(sha256(blob));
      expect(readdirSync(directory)).toEqual([]);
    }
  });
});

describe("whiteouts", () => {
  const isWhiteout = (path: string): boolean => {
    const stat = lstatSync(path);
    return stat.isCharacterDevice() && stat.rdev === 0;
  };
  const opaque = (path: string): string => {
    const script =
      "import os,sys\ntry: print(os.getxattr(sys.argv[1],'trusted.overlay.opaque').decode())\nexcept OSError: print('')";
    return execFileSync("python3", ["-c", script, path], { encoding: "utf8" }).trim();
  };

  it("become overlayfs's own", async () => {
    const { directory } = await fixture.entries([
      { name: "a/", type: "5", mode: 0o755 },
      { name: "a/.wh.gone" },
      { name: "b/", type: "5", mode: 0o755 },
      { name: "b/.wh..wh..opq" },
      { name: "b/new" },
      { name: ".wh..wh.plnk" },
      { name: ".wh..wh.aufs" },
    ]);
    expect(isWhiteout(join(directory, "a/gone"))).toBe(true);
    expect(opaque(join(directory, "a"))).toBe("");
    expect(opaque(join(directory, "b"))).toBe("y");
    expect(readdirSync(directory).sort()).toEqual(["a", "b"]);
    expect(readdirSync(join(directory, "b"))).toEqual(["new"]);
  });

  it("never hide what the same layer brings, before or after them", async () => {
    const { directory } = await fixture.entries([
      { name: "file", data: "1" },
      { name: ".wh.file" },
      { name: "dir/", type: "5", mode: 0o755 },
      { name: "dir/in", data: "2" },
      { name: ".wh.dir" },
      { name: ".wh.later" },
      { name: "later/", type: "5", mode: 0o700 },
      { name: ".wh.implied" },
      { name: "implied/in", data: "3" },
      { name: ".wh.plain" },
      { name: "plain", data: "4" },
    ]);
    expect(readFileSync(join(directory, "file"), "utf8")).toBe("1");
    expect(readFileSync(join(directory, "dir/in"), "utf8")).toBe("2");
    expect(readFileSync(join(directory, "plain"), "utf8")).toBe("4");
    for (const name of ["dir", "later", "implied"]) expect(opaque(join(directory, name)), name).toBe("y");
  });
});

describe("hostile archives", () => {
  const outside = "/var/tmp/berth-unpack-outside";
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
    ["a relative link", "../../../../../../var/tmp/berth-unpack-outside/secret"],
    ["a link to the root", "/"],
    ["a magic link", "/proc/self/root/var/tmp/berth-unpack-outside"],
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
    ["a damaged gzip checksum", flip(gzipSync(good), gzipSync(good).length - 6), /damaged/],
    ["a cut archive", good.subarray(0, 5000), /ends inside/],
    ["garbage behind gzip", Buffer.concat([gzipSync(good), Buffer.from("garbage")]), /damaged/],
    ["something else", Buffer.from("<html>not found</html>".repeat(100)), /not an octal|checksum/],
    ["half a header", Buffer.alloc(100, "x"), /ends in the middle/],
  ])("%s is refused", async (_, blob, message) => {
    await expect(fixture.blob(blob)).rejects.toThrow(message);
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
    await expect.poll(workers).toBe(1);
  });

  it("leaves no mount behind", () => {
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(fixture.top);
    expect(existsSync(join(fixture.top, "layers"))).toBe(true);
  });

  const workers = (): number =>
    readdirSync("/proc").filter((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(fixture.top);
      } catch {
        return false;
      }
    }).length;
});
