import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { run } from "../lib/command.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { makeOneOfEverything } from "../lib/one-of-everything.ts";
import { describeTree, type TreeLine } from "../lib/tree.ts";

const digestOf = (data: Buffer): string => createHash("sha256").update(data).digest("hex");

/** Writes an OCI layout with one image of one layer. */
function writeLayout(directory: string, archive: Buffer): void {
  const blobs = join(directory, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const put = (data: Buffer, mediaType: string): object => {
    writeFileSync(join(blobs, digestOf(data)), data);
    return { mediaType, digest: `sha256:${digestOf(data)}`, size: data.length };
  };
  const config = {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [`sha256:${digestOf(archive)}`] },
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: put(Buffer.from(JSON.stringify(config)), "application/vnd.oci.image.config.v1+json"),
    layers: [put(gzipSync(archive), "application/vnd.oci.image.layer.v1.tar+gzip")],
  };
  const described = put(Buffer.from(JSON.stringify(manifest)), manifest.mediaType);
  const named = { ...described, annotations: { "org.opencontainers.image.ref.name": "everything" } };
  writeFileSync(join(directory, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  writeFileSync(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
}

describe("beside another implementation", () => {
  it("a layer comes out as umoci unpacks it, file by file", async () => {
    await using fixture = await ImageFixture.open();
    const [tree, layout, other] = ["tree", "layout", "umoci"].map((name) => join(fixture.dir, name));
    if (tree === undefined || layout === undefined || other === undefined) throw new Error("three folders");
    makeOneOfEverything(tree);
    const tar = join(fixture.dir, "layer.tar");
    await run("tar", ["-C", tree, "-cf", tar, "--format=pax", "--xattrs", "--xattrs-include=*", "."]);
    writeLayout(layout, readFileSync(tar));
    await run("umoci", ["raw", "unpack", "--image", `${layout}:everything`, other]);
    await fixture.images.load(layout, "", new AbortController().signal);
    const ours = await describeTree(fixture.path("layers", fixture.layers()[0] ?? ""));
    const theirs = await describeTree(other);
    const plain = (line: TreeLine): TreeLine => ({ ...line, content: line.content.replace(/ sparse$/, "") });
    expect(ours.map(plain)).toEqual(theirs.map(plain));
    rmSync(tar);
  });
});
