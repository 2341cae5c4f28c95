import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LayerBuilder } from "../../hack/images-layer.ts";
import { Pusher } from "../../hack/images-push.ts";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { registryAddress, testImage } from "../lib/registry.ts";

const busybox = testImage("e2e-test-images/busybox:1.29-2");
const nginx = testImage("e2e-test-images/nginx:1.14-2");
const tags = ["1", "2", "3"].map((tag) => testImage(`k8s-staging-cri-tools/test-image-tags:${tag}`));

let server: Berthd;
beforeAll(async () => {
  server = await Berthd.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const pull = async (image: string): Promise<string> =>
  (await server.image.pullImage({ image: { image } })).imageRef;
const status = async (image: string): Promise<string | undefined> =>
  (await server.image.imageStatus({ image: { image } })).image?.id;
const remove = async (image: string): Promise<void> => {
  await server.image.removeImage({ image: { image } });
};
const layers = (): readonly string[] =>
  readdirSync(join(server.dir, "lib/layers")).filter((name) => /^[0-9a-f]{24}$/.test(name));

describe("an image", () => {
  it("answers to its id, parts of it, tag, digest and short forms", async () => {
    const id = await pull(busybox);
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    const { images } = await server.image.listImages();
    const image = images.find((one) => one.id === id);
    expect(image?.repoTags).toEqual([busybox]);
    expect(image?.repoDigests).toHaveLength(1);
    expect(image?.size).toBeGreaterThan(1_000_000n);
    const digest = image?.repoDigests[0] ?? "";
    expect(digest).toMatch(/^registry\.test\/e2e-test-images\/busybox@sha256:/);
    for (const name of [id, id.slice(7), id.slice(7, 20), id.slice(0, 20), busybox, digest]) {
      expect(await status(name), name).toBe(id);
    }
    for (const name of ["busybox", id.slice(7, 15), `${busybox}x`, "sha256:", "%%"]) {
      expect(await status(name), name).toBeUndefined();
    }
    expect(await pull(digest)).toBe(id);
  });

  it("has one row for all of its names, and goes with all of them", async () => {
    const ids = await Promise.all(tags.map(pull));
    expect(new Set(ids).size).toBe(1);
    const row = (await server.image.listImages()).images.filter((image) => image.id === ids[0]);
    expect(row).toHaveLength(1);
    expect([...(row[0]?.repoTags ?? [])].sort()).toEqual(tags);
    await Promise.all([...tags, ids[0] ?? "", "registry.test/never:seen"].map(remove));
    for (const name of [...tags, ids[0] ?? ""]) expect(await status(name)).toBeUndefined();
  });

  it("says its user as uid or name, never both", async () => {
    const users: Record<string, [bigint | undefined, string]> = {
      "test-image-user-uid": [1002n, ""],
      "test-image-user-username": [undefined, "www-data"],
      "test-image-user-uid-group": [1003n, ""],
      "test-image-user-username-group": [undefined, "www-data"],
    };
    for (const [name, [uid, username]] of Object.entries(users)) {
      const image = testImage(`k8s-staging-cri-tools/${name}`);
      await pull(image);
      const answer = await server.image.imageStatus({ image: { image } });
      expect(answer.image?.uid?.value, name).toBe(uid);
      expect(answer.image?.username, name).toBe(username);
      await remove(image);
    }
  });

  it("is pulled once however many ask at the same time", async () => {
    await remove(nginx);
    const ids = await Promise.all(Array.from({ length: 8 }, () => pull(nginx)));
    expect(new Set(ids).size).toBe(1);
    // The log takes its own way.
    await eventually(async () => {
      const log = await readFile(server.logPath, "utf8");
      const pulled = log
        .split("\n")
        .filter((line) => line.includes("image pulled") && line.includes("nginx"));
      expect(pulled).toHaveLength(1);
    });
  });

  it("shares its layers with others, and frees them with the last", async () => {
    await pull(busybox);
    await pull(nginx);
    const both = layers().length;
    await remove(nginx);
    await eventually(() => expect(layers().length).toBe(both - 1));
    expect(await status(busybox)).toBeDefined();
  });

  it("survives a kill of the server", async () => {
    const id = await pull(busybox);
    await server.stop("SIGKILL");
    await server.again();
    expect(await status(busybox)).toBe(id);
  });

  it("costs nothing to ask for the space of", async () => {
    const { imageFilesystems } = await server.image.imageFsInfo();
    const [usage] = imageFilesystems;
    expect(usage?.usedBytes?.value).toBeGreaterThan(1_000_000n);
    expect(usage?.inodesUsed?.value).toBeGreaterThan(10n);
    expect(readdirSync(usage?.fsId?.mountpoint ?? "")).toContain("records");
    await remove(busybox);
    const after = await server.image.imageFsInfo();
    expect(after.imageFilesystems[0]?.usedBytes?.value).toBeLessThan(usage?.usedBytes?.value ?? 0n);
  });
});

describe("a pull that can't be", () => {
  it.each([
    ["no name", "", 3, /image/],
    ["no such tag", testImage("e2e-test-images/busybox:none"), 5, /not found/],
    ["no such repository", testImage("none/at/all"), 5, /not found/],
    ["nothing that is a name", "Not A Name", 3, /image reference/],
    ["a wrong digest", `${testImage("e2e-test-images/busybox")}@sha256:${"0".repeat(64)}`, 5, /not found/],
    ["a registry that is not there", "127.0.0.1:9/x", 2, /^RegistryUnavailable/],
  ])("%s", async (_, image, code, details) => {
    await expect(pull(image)).rejects.toMatchObject({ code, details: expect.stringMatching(details) });
  });

  it("ends with its deadline, and leaves nothing behind", async () => {
    await remove(nginx);
    await expect(server.image.pullImage({ image: { image: nginx } }, { deadline: 1 })).rejects.toMatchObject({
      code: 4,
    });
    await eventually(() => expect(readdirSync(join(server.dir, "lib/layers/tmp"))).toEqual([]));
    await pull(nginx);
  });

  it("is of an image whose configuration lies about a layer that is here", async () => {
    const layer = new LayerBuilder().file("true", "true").build();
    const decoy = new LayerBuilder().file("other-platform", "").build();
    const pusher = new Pusher(registryAddress);
    const recipe = { tags: ["1"], config: {}, single: true };
    await pusher.push({ ...recipe, repository: "lies/not", layers: [layer] }, decoy);
    const wrong = { ...layer, diffId: decoy.diffId };
    await pusher.push({ ...recipe, repository: "lies/so", layers: [wrong] }, decoy);
    const before = layers();
    await pull(testImage("lies/not:1"));
    await expect(pull(testImage("lies/so:1"))).rejects.toMatchObject({
      code: 2,
      details: expect.stringMatching(/uncompressed; the image's configuration says/),
    });
    await remove(testImage("lies/not:1"));
    await expect(pull(testImage("lies/so:1"))).rejects.toMatchObject({ code: 2 });
    await eventually(() => expect(layers()).toEqual(before));
  });

  it("is of an artifact that is no image", async () => {
    const empty = Buffer.from("{}");
    const digest = `sha256:${createHash("sha256").update(empty).digest("hex")}`;
    const api = `http://${registryAddress}/v2/artifact/of/something`;
    const session = await fetch(`${api}/blobs/uploads/`, { method: "POST" });
    const upload = new URL(session.headers.get("location") ?? "", api);
    upload.searchParams.set("digest", digest);
    await fetch(upload, {
      method: "PUT",
      body: "{}",
      headers: { "content-type": "application/octet-stream" },
    });
    const part = (mediaType: string) => ({ mediaType, digest, size: empty.length });
    const type = "application/vnd.oci.image.manifest.v1+json";
    const manifest = {
      schemaVersion: 2,
      mediaType: type,
      artifactType: "application/vnd.example.chart",
      config: part("application/vnd.oci.empty.v1+json"),
      layers: [part("application/vnd.example.chart.content")],
    };
    const put = await fetch(`${api}/manifests/1`, {
      method: "PUT",
      body: JSON.stringify(manifest),
      headers: { "content-type": type },
    });
    expect(put.status).toBe(201);
    await expect(pull(testImage("artifact/of/something:1"))).rejects.toMatchObject({
      code: 2,
      details: expect.stringMatching(/artifact/),
    });
  });

  it("names a hosts.toml that can't be read", async () => {
    const file = join(server.dir, "certs.d/gcr.io/hosts.toml");
    const before = await readFile(file, "utf8");
    await writeFile(file, "[host.'http://x']\ncapabilities = ['fly']");
    await expect(pull("gcr.io/pause:3.9")).rejects.toMatchObject({
      details: expect.stringMatching(/hosts\.toml.*fly/),
    });
    await writeFile(file, before);
    expect(await pull("gcr.io/pause:3.9")).toMatch(/^sha256:/);
  });
});

describe("names that move", () => {
  it("belong to the latest pull alone", async () => {
    const [first = "", second = ""] = ["test", "all"].map(
      (tag) => `k8s-staging-cri-tools/test-image-tag:${tag}`,
    );
    const moving = "moving/tag";
    const copy = async (from: string): Promise<void> => {
      const [repository, tag] = from.split(":");
      const accept = "application/vnd.docker.distribution.manifest.list.v2+json";
      const api = `http://${registryAddress}/v2`;
      const index = await fetch(`${api}/${repository}/manifests/${tag}`, { headers: { accept } });
      const text = await index.text();
      const manifests = (JSON.parse(text) as { manifests: { digest: string; mediaType: string }[] })
        .manifests;
      for (const { digest, mediaType } of manifests) {
        const body = await (
          await fetch(`${api}/${repository}/manifests/${digest}`, { headers: { accept: mediaType } })
        ).text();
        const manifest = JSON.parse(body) as { config: { digest: string }; layers: { digest: string }[] };
        for (const blob of [manifest.config, ...manifest.layers]) {
          await fetch(`${api}/${moving}/blobs/uploads/?mount=${blob.digest}&from=${repository}`, {
            method: "POST",
          });
        }
        await fetch(`${api}/${moving}/manifests/${digest}`, {
          method: "PUT",
          body,
          headers: { "content-type": mediaType },
        });
      }
      const put = await fetch(`${api}/${moving}/manifests/latest`, {
        method: "PUT",
        body: text,
        headers: { "content-type": accept },
      });
      expect(put.status).toBe(201);
    };
    await copy(first);
    const old = await pull(testImage(moving));
    await copy(second);
    const current = await pull(testImage(moving));
    expect(current).not.toBe(old);
    expect(await status(testImage(moving))).toBe(current);
    const { images } = await server.image.listImages();
    expect(images.find((image) => image.id === old)).toMatchObject({ repoTags: [] });
    await server.stop("SIGKILL");
    await server.again();
    expect(await status(testImage(moving))).toBe(current);
  });
});
