import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { digestOf } from "../../hack/images-layer.ts";
import { Pusher } from "../../hack/images-push.ts";
import { Containerd } from "../bench/containerd.ts";
import { run } from "../lib/command.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { makeOneOfEverything } from "../lib/one-of-everything.ts";
import { registryAddress } from "../lib/registry.ts";
import { type TarEntry, tarArchive } from "../lib/tar-archive.ts";
import { describeTree, type TreeLine } from "../lib/tree.ts";

/** hack/setup bench installs it; the parts of hack/test that run this ask for that. */
const hasContainerd = spawnSync("containerd", ["--version"]).status === 0;

const repository = "compare/everything";
const directory = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({
  name: `${name}/`,
  type: "5",
  mode: 0o755,
  mtime: 1_500_000_000,
  ...more,
});
const whiteout = (name: string): TarEntry => ({ name, data: "", mode: 0 });

const added = { mode: 0o4711, uid: 9, gid: 10, pax: { mtime: "1530000000.123456789" } };

/** What the layers above the first change of it: everything that a layer can do to those below. */
const second: readonly TarEntry[] = [
  directory(".", { mode: 0o755, mtime: 1_510_000_000 }),
  // A directory that is there: mode, owner, time and an attribute are new, what is in it stays.
  directory("dir", {
    mode: 0o1770,
    uid: 7,
    gid: 8,
    mtime: 1_520_000_000,
    pax: { "SCHILY.xattr.user.second": "2" },
  }),
  { name: "dir/added", data: "added", ...added },
  // As tar writes links: with what their target has.
  { name: "dir/added-too", type: "1", link: "dir/added", ...added },
  { name: "added-again", type: "1", link: "dir/added", ...added },
  // One of three names of a file goes.
  whiteout(".wh.hard"),
  // Kinds change: file to directory, directory to file, link to file, file to link, device to file.
  directory("setuid", { mode: 0o750 }),
  { name: "setuid/inside", data: "a file was here" },
  whiteout(".wh.sticky"),
  { name: "private", data: "a directory was here", mode: 0o600 },
  { name: "longlink", data: "a link was here" },
  { name: "empty", type: "2", link: "dir/file" },
  { name: "char", data: "a device was here" },
  // Nothing of below shows any more, and something new does.
  directory("opaque", { mode: 0o711 }),
  { name: "opaque/.wh..wh..opq", data: "" },
  { name: "opaque/new", data: "new" },
  { name: "device", type: "3", major: 1, minor: 5, mode: 0o666, uid: 3 },
  { name: "pipe", type: "6", mode: 0o620 },
];

const third: readonly TarEntry[] = [
  directory(".", { mode: 0o755, mtime: 1_550_000_000 }),
  // What was removed comes back, otherwise; what was added goes.
  directory("sticky", { mode: 0o700, gid: 5 }),
  { name: "sticky/again", data: "again" },
  {
    name: "hard",
    data: "another file",
    mode: 0o604,
    pax: { "SCHILY.xattr.security.capability": capability() },
  },
  directory("dir", { mode: 0o755, mtime: 1_540_000_000 }),
  whiteout("dir/.wh.added-too"),
  whiteout("dir/.wh.sub"),
  directory("opaque", { mode: 0o711 }),
  { name: "opaque/low", data: "from the third" },
  whiteout(".wh.device"),
  directory("deep"),
  directory("deep/er", { uid: 20 }),
  { name: "deep/er/file", data: "x".repeat(100_000), gid: 21 },
];

function capability(): Buffer {
  return Buffer.from("0100000200200000000000000000000000000000", "hex");
}

async function firstLayer(dir: string): Promise<Buffer> {
  const tree = join(dir, "tree");
  makeOneOfEverything(tree);
  await run("bash", [
    "-euc",
    'cd "$1" && mkdir opaque && echo low >opaque/low && echo old >opaque/old',
    "opaque",
    tree,
  ]);
  const tar = join(dir, "layer.tar");
  await run("tar", ["-C", tree, "-cf", tar, "--format=pax", "--xattrs", "--xattrs-include=*", "."]);
  return readFileSync(tar);
}

async function push(archives: readonly Buffer[]): Promise<string> {
  const layers = archives.map((archive) => ({ diffId: digestOf(archive), blob: gzipSync(archive) }));
  const [decoy] = layers;
  if (decoy === undefined) throw new Error("an image has layers");
  const recipe = { repository, tags: ["1"], layers, config: { Cmd: ["/setuid"] }, single: true, oci: true };
  await new Pusher(registryAddress).push(recipe, decoy);
  return `${registryAddress}/${repository}:1`;
}

async function inOurs(fixture: ImageFixture, image: string): Promise<readonly TreeLine[]> {
  await fixture.pull(image);
  const { layers } = await fixture.images.inspect(image);
  const merged = join(fixture.dir, "merged");
  mkdirSync(merged);
  const lower = layers.map((layer) => layer.directory).reverse();
  await run("mount", ["-t", "overlay", "overlay", "-o", `ro,lowerdir=${lower.join(":")}`, merged]);
  try {
    return await describeTree(merged);
  } finally {
    await run("umount", [merged]);
  }
}

async function inTheirs(containerd: Containerd, image: string, merged: string): Promise<readonly TreeLine[]> {
  await containerd.crictl.run("pull", image);
  const ctr = (...words: string[]): Promise<string> =>
    run("ctr", ["--address", containerd.socket, "--namespace", "k8s.io", "images", ...words]);
  mkdirSync(merged);
  await ctr("mount", image, merged);
  try {
    return await describeTree(merged);
  } finally {
    await ctr("unmount", "--rm", merged);
  }
}

/**
 * The one known difference: containerd gives a file's owner once more for each further name of it, and the kernel drops file
 * capabilities whenever an owner is given. umoci keeps them, and so do we.
 */
function asTheirs(line: TreeLine): TreeLine {
  const hasNames = ["/dir/hard", "/random"].includes(line.path);
  return hasNames ? { ...line, xattrs: line.xattrs.replace(/security\.capability=[0-9a-f]+/, "") } : line;
}

describe.skipIf(!hasContainerd)("beside Debian's containerd", () => {
  it("an image of three layers is the same, file by file", { timeout: 120_000 }, async () => {
    await using fixture = await ImageFixture.open();
    const image = await push([await firstLayer(fixture.dir), tarArchive(second), tarArchive(third)]);
    const ours = await inOurs(fixture, image);
    await using containerd = await Containerd.start([]);
    const theirs = await inTheirs(containerd, image, join(fixture.dir, "theirs"));
    expect(ours.length).toBeGreaterThan(30);
    expect(ours.find(({ path }) => path === "/random")?.xattrs).toMatch(/security\.capability/);
    // The root of their mount is that of an upper layer, made just now.
    const [root, ...rest] = theirs;
    expect(ours[0]).toMatchObject({ ...root, mtimeNs: 1_550_000_000_000_000_000n });
    expect(ours.slice(1).map(asTheirs)).toEqual(rest);
  });
});
