import { createHash, randomBytes } from "node:crypto";
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";
import { tarArchive } from "../lib/tar-archive.ts";

const nginx = `${registryAddress}/e2e-test-images/nginx:1.14-2`;
const digest = `${registryAddress}/k8s-staging-cri-tools/test-image-digest:latest`;
const signal = new AbortController().signal;
const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");

async function save(fixture: ImageFixture, references: readonly string[], path: string): Promise<void> {
  await pipeline(fixture.images.save(references), createWriteStream(path));
}

describe("an archive of images", () => {
  it("loads as what was saved: ids, names, layers", async () => {
    await using one = await ImageFixture.open();
    const images = [await one.pull(nginx), await one.pull(digest)];
    await one.images.tag(nginx, "berth.test/also:1");
    const path = join(one.dir, "images.tar");
    await save(one, [nginx, digest], path);
    await using other = await ImageFixture.open();
    const loaded = await other.images.load(path, "", signal);
    expect(loaded.map((image) => image.id).sort()).toEqual(images.map((image) => image.id).sort());
    expect([...(other.images.find(nginx)?.repoTags ?? [])].sort()).toEqual(
      [nginx, "berth.test/also:1"].sort(),
    );
    expect(other.layers()).toEqual(one.layers());
    expect(await other.images.verify()).toEqual([]);
    // The same images are the same bytes.
    const again = join(one.dir, "again.tar");
    await save(one, [nginx, digest], again);
    expect(sha256(readFileSync(again))).toBe(sha256(readFileSync(path)));
    // And the directory that it unpacks to is a layout as well.
    const layout = join(one.dir, "layout");
    mkdirSync(layout);
    await run("tar", ["-xf", path, "-C", layout]);
    await using third = await ImageFixture.open();
    expect(await third.images.load(layout, "", signal)).toHaveLength(2);
  });

  it("may be what docker save writes", async () => {
    await using fixture = await ImageFixture.open();
    const layer = tarArchive([{ name: "hello", data: "hello" }]);
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === "arm64" ? "arm64" : "amd64",
        os: "linux",
        config: { Cmd: ["/hello"] },
        rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
      }),
    );
    const archive = (content: Buffer): Buffer =>
      tarArchive([
        { name: "abc/layer.tar", data: content },
        { name: "def/layer.tar", type: "2", link: "../abc/layer.tar" },
        { name: `${sha256(config)}.json`, data: config },
        {
          name: "manifest.json",
          data: JSON.stringify([
            {
              Config: `${sha256(config)}.json`,
              RepoTags: ["hello:1", "example.org/hello:2"],
              Layers: ["def/layer.tar"],
            },
          ]),
        },
      ]);
    const path = join(fixture.dir, "docker.tar");
    for (const content of [layer, gzipSync(layer)]) {
      writeFileSync(path, archive(content));
      const [image] = await fixture.images.load(path, "", signal);
      expect(image?.id).toBe(`sha256:${sha256(config)}`);
      expect(image?.repoTags).toEqual(["docker.io/library/hello:1", "example.org/hello:2"]);
      expect(readFileSync(fixture.path("layers", fixture.layers()[0] ?? "", "hello"), "utf8")).toBe("hello");
      await fixture.images.remove(image?.id ?? "");
    }
  });

  it("that is none, or damaged, is refused by name", async () => {
    await using fixture = await ImageFixture.open();
    await fixture.pull(nginx);
    const path = join(fixture.dir, "bad.tar");
    const cases: [Buffer, RegExp][] = [
      [Buffer.from("not an archive".repeat(100)), /not a tar archive/],
      [gzipSync(randomBytes(5000)), /not a tar archive/],
      [tarArchive([{ name: "x", data: "y" }]), /neither index.json nor manifest.json/],
      [tarArchive([{ name: "index.json", data: "{" }]), /not JSON/],
      [tarArchive([{ name: "index.json", data: '{"manifests":[]}' }]), /no image/],
      [tarArchive([{ name: "index.json", data: `{"manifests":[{"digest":"../x"}]}` }]), /not a digest/],
      [
        tarArchive([{ name: "index.json", data: `{"manifests":[{"digest":"sha256:${"0".repeat(64)}"}]}` }]),
        /missing/,
      ],
      [tarArchive([{ name: "manifest.json", data: '[{"Config":"c","Layers":["l"]}]' }]), /missing/],
    ];
    for (const [bytes, message] of cases) {
      writeFileSync(path, bytes);
      await expect(fixture.images.load(path, "", signal)).rejects.toThrow(message);
    }
    await expect(fixture.images.load("/does/not/exist", "", signal)).rejects.toThrow(/\/does\/not\/exist/);
    await save(fixture, [nginx], path);
    const whole = readFileSync(path);
    whole[whole.length - 3_000_000] = (whole[whole.length - 3_000_000] ?? 0) ^ 1;
    writeFileSync(path, whole);
    await using other = await ImageFixture.open({ idleMs: 100 });
    await expect(other.images.load(path, "", signal)).rejects.toThrow(/digest|damaged/);
    expect(other.images.list()).toEqual([]);
    // A layer that was right waits for another attempt, but not for ever.
    await eventually(() => expect(other.layers()).toEqual([]));
  });
});

describe("operators", () => {
  it("give names, and see all of an image", async () => {
    await using fixture = await ImageFixture.open({ pinned: ["berth.test/*"] });
    const image = await fixture.pull(nginx);
    expect(image.pinned).toBe(false);
    const tagged = await fixture.images.tag(image.id.slice(7, 20), "berth.test/web:stable");
    expect(tagged.repoTags).toEqual([nginx, "berth.test/web:stable"]);
    expect(tagged.pinned).toBe(true);
    await fixture.images.lease(image.id, "container-1");
    const details = await fixture.images.inspect("berth.test/web:stable");
    expect(details.users).toEqual(["container-1"]);
    expect(details.layers.map((layer) => layer.diffId)).toEqual(image.diffIds);
    for (const layer of details.layers) {
      expect(layer.directory).toBe(fixture.path("layers", layer.diffId.slice(7, 31)));
      expect(layer.diskBytes).toBeGreaterThan(layer.size);
    }
    await expect(fixture.images.tag("nothing", "a:b")).rejects.toMatchObject({ code: "image-not-found" });
    await expect(fixture.images.tag(image.id, "No Name")).rejects.toMatchObject({ code: "invalid-argument" });
    await fixture.reopen();
    expect(fixture.images.find("berth.test/web:stable")?.id).toBe(image.id);
  });
});
