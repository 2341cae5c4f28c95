import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateRawSync, gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeOneOfEverything } from "../lib/one-of-everything.ts";
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

/** An archive without sparse entries has zeros instead of holes. */
const dense = (line: TreeLine): TreeLine => ({ ...line, content: line.content.replace(/ sparse$/, "") });

describe("a layer's content", () => {
  let source: string;
  let expected: readonly TreeLine[];
  beforeAll(async () => {
    source = mkdtempSync("/var/tmp/berth-unpack-tree-");
    makeOneOfEverything(source);
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

  it("is decompressed whatever a gzip program makes of it", { timeout: 120_000 }, async () => {
    const text = execFileSync("tar", ["-C", "/usr/share", "-cf", "-", "doc/bash", "perl"], {
      maxBuffer: 1 << 28,
    });
    const contents = [randomBytes(300_000), Buffer.alloc(1_000_000), text.subarray(0, 3_000_000)];
    for (const strategy of [0, 1, 2, 3, 4]) {
      for (const [level, windowBits, memLevel] of [
        [0, 15, 9],
        [1, 9, 1],
        [4, 12, 5],
        [9, 15, 9],
      ] as const) {
        for (const content of contents) {
          const blob = gzipSync(content, { level, strategy, windowBits, memLevel });
          const { name, size } = fixture.place(blob);
          const job = fixture.unpacker.unpack({ blob: name, maxBytes: 1e9, maxEntries: 1 });
          job.end(size);
          const what = `${content.length} bytes, level ${level}, strategy ${strategy}`;
          expect(await job.done, what).toMatchObject({ blob: sha256(blob), diffId: sha256(content) });
        }
      }
    }
  });

  it("is read past everything that a gzip header may carry", async () => {
    const plain = archive("--format=pax");
    const deflated = deflateRawSync(plain);
    const trailer = Buffer.alloc(8);
    trailer.writeUInt32LE(crc32(plain));
    trailer.writeUInt32LE(plain.length, 4);
    const header = Buffer.concat([
      Buffer.from([0x1f, 0x8b, 8, 0x1f, 0, 0, 0, 0, 0, 3]),
      Buffer.from([5, 0, 1, 2, 3, 4, 5]),
      Buffer.from("a name\0a comment\0"),
    ]);
    const checksum = Buffer.alloc(2);
    checksum.writeUInt16LE(crc32(header) & 0xffff);
    const blob = Buffer.concat([header, checksum, deflated, trailer]);
    const { result } = await fixture.blob(blob);
    expect(result).toMatchObject({ blob: sha256(blob), diffId: sha256(plain) });
    // As estargz has it: a member for each file, many of them next to nothing.
    const members = Array.from({ length: 200 }, (_, n) =>
      gzipSync(
        plain.subarray(Math.floor((n * plain.length) / 200), Math.floor(((n + 1) * plain.length) / 200)),
      ),
    );
    const parts = Buffer.concat(members.flatMap((member) => [member, gzipSync("")]));
    expect((await fixture.blob(parts)).result).toMatchObject({ blob: sha256(parts), diffId: sha256(plain) });
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
