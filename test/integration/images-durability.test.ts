import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  decodeRecord,
  encodeRecord,
  type LayerRecord,
} from "../../cri-server/src/effects/store/image-records.ts";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { FaultyRegistry } from "../lib/faulty-registry.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";
import { describeTree } from "../lib/tree.ts";

const nginx = "e2e-test-images/nginx:1.14-2";
const busybox = "e2e-test-images/busybox:1.29-2";

describe("a kill of the server", () => {
  it("in the middle of a pull leaves no image, and the next pull goes on where it was", async () => {
    await using proxy = await FaultyRegistry.start(registryAddress);
    await using server = await Berthd.start();
    const image = `${proxy.address}/${nginx}`;
    proxy.choose = (path) => (path.includes("/blobs/") ? "stall" : "none");
    const pull = server.image.pullImage({ image: { image } });
    pull.catch(() => {});
    const ingest = join(server.dir, "lib/images/ingest");
    await eventually(() => expect(readdirSync(ingest).length).toBeGreaterThanOrEqual(2), 10_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await server.stop("SIGKILL");
    await server.again();
    expect((await server.image.listImages()).images).toEqual([]);
    expect(readdirSync(join(server.dir, "lib/layers/tmp"))).toEqual([]);
    proxy.choose = () => "none";
    proxy.exchanges.length = 0;
    await server.image.pullImage({ image: { image } });
    const resumed = proxy.seen("/blobs/").filter((one) => one.range !== undefined);
    expect(resumed.length).toBeGreaterThanOrEqual(1);
    expect(readdirSync(ingest)).toEqual([]);
  });

  it("at any moment of a pull leaves the image or nothing", { timeout: 120_000 }, async () => {
    await using server = await Berthd.start();
    const image = `${registryAddress}/${nginx}`;
    const seen = new Set<number>();
    for (let round = 0; round < 12; round++) {
      const pull = server.image.pullImage({ image: { image } }).then(
        () => true,
        () => false,
      );
      await new Promise((resolve) => setTimeout(resolve, 6 * round));
      await server.stop("SIGKILL");
      const told = await pull;
      await server.again();
      const { images } = await server.image.listImages();
      seen.add(images.length);
      // Whoever was told of it finds it again.
      if (told) expect(images).toHaveLength(1);
      if (images.length === 1) {
        const layers = readdirSync(join(server.dir, "lib/layers")).filter((name) =>
          /^[0-9a-f]{24}$/.test(name),
        );
        expect(layers).toHaveLength(2);
        await server.image.removeImage({ image: { image } });
      }
    }
    expect(seen.has(0)).toBe(true);
  });
});

describe("what a failed pull has left", () => {
  it("is not swept away under another pull that waits for its configuration", async () => {
    await using known = await ImageFixture.open();
    const image = await known.pull(`${registryAddress}/${nginx}`);
    const [kept = "", denied = ""] = (await known.images.inspect(image.id)).layers.map((layer) => layer.blob);
    await using failing = await FaultyRegistry.start(registryAddress);
    await using slow = await FaultyRegistry.start(registryAddress);
    await using fixture = await ImageFixture.open({ idleMs: 100, stallTimeoutSeconds: 0.5 });
    const times = new Map<string, number>();
    const nth = (what: string): number => {
      times.set(what, (times.get(what) ?? 0) + 1);
      return times.get(what) ?? 0;
    };
    // One layer comes late, the other is refused later, and the second pull's configuration comes last.
    failing.choose = (path) => {
      if (path.includes(kept)) return nth(kept) === 1 ? "stall" : "none";
      if (path.includes(denied)) return nth(denied) <= 2 ? "stall" : "denied";
      return "none";
    };
    slow.choose = (path) => (path.includes(image.id) && nth(image.id) <= 3 ? "stall" : "none");
    const failed = fixture.pull(`${failing.address}/${nginx}`);
    failed.catch(() => {});
    await eventually(() => expect(failing.seen("/blobs/")).toHaveLength(3));
    const waiting = fixture.pull(`${slow.address}/${nginx}`);
    waiting.catch(() => {});
    await expect(failed).rejects.toMatchObject({ code: "pull-failed" });
    await waiting;
    // It was swept, and fetched again by who needs it.
    expect(slow.seen(kept)).toHaveLength(1);
    expect(fixture.layers()).toEqual(known.layers());
    await fixture.reopen();
    expect(fixture.images.list()).toHaveLength(1);
  });
});

describe("a power cut", () => {
  it("before the files of a layer were surely written has it unpacked again from its blob", async () => {
    await using fixture = await ImageFixture.open();
    const image = await fixture.pull(`${registryAddress}/${busybox}`);
    const [layer = ""] = fixture.layers();
    const before = await describeTree(fixture.path("layers", layer));
    const path = fixture.path("layers/records", `${layer}.json`);
    await fixture.images.close();
    // As after a power cut in the seconds before the flush: another boot, and files without content.
    const record = decodeRecord(readFileSync(path, "utf8")) as LayerRecord;
    writeFileSync(path, encodeRecord({ ...record, unsyncedBoot: "another" }));
    writeFileSync(fixture.path("layers", layer, "bin/busybox"), "");
    rmSync(fixture.path("layers", layer, "etc"), { recursive: true });
    await fixture.reopen();
    expect(fixture.images.find(image.id)).toBeDefined();
    const after = await describeTree(fixture.path("layers", layer));
    // The archive does not describe the root itself.
    expect(after.slice(1)).toEqual(before.slice(1));
  });

  it("is over for a layer some seconds after its pull", async () => {
    await using fixture = await ImageFixture.open();
    await fixture.pull(`${registryAddress}/${busybox}`);
    const [layer = ""] = fixture.layers();
    const path = fixture.path("layers/records", `${layer}.json`);
    const read = (): LayerRecord => decodeRecord(readFileSync(path, "utf8")) as LayerRecord;
    expect(read().unsyncedBoot).not.toBe("");
    await eventually(() => expect(read().unsyncedBoot).toBe(""), 20_000);
  });
});

describe("damage on disk", () => {
  it("of a record costs that image alone", async () => {
    await using fixture = await ImageFixture.open();
    const kept = await fixture.pull(`${registryAddress}/${busybox}`);
    const lost = await fixture.pull(`${registryAddress}/${nginx}`);
    const path = fixture.path("images/records", `${lost.id.slice(7)}.json`);
    for (const damage of ["", "{", readFileSync(path, "utf8").replace("nginx", "nginy")]) {
      writeFileSync(path, damage);
      await fixture.reopen();
      expect(fixture.images.list().map((image) => image.id)).toEqual([kept.id]);
      expect(fixture.layers()).toHaveLength(1);
      await fixture.pull(`${registryAddress}/${nginx}`);
    }
  });

  it("of a blob is found, named and mended by pulling again", async () => {
    await using fixture = await ImageFixture.open();
    const image = await fixture.pull(`${registryAddress}/${busybox}`);
    const [blob = ""] = readdirSync(fixture.path("images/blobs/sha256"));
    const bytes = readFileSync(fixture.path("images/blobs/sha256", blob));
    bytes[1000] = (bytes[1000] ?? 0) ^ 1;
    writeFileSync(fixture.path("images/blobs/sha256", blob), bytes);
    const [problem, ...others] = await fixture.images.verify();
    expect(others).toEqual([]);
    expect(problem).toMatchObject({ blob: `sha256:${blob}`, images: [image.id] });
    const signal = new AbortController().signal;
    expect(await fixture.images.repair(signal)).toMatchObject([{ blob: `sha256:${blob}`, what: "" }]);
    expect(await fixture.images.verify()).toEqual([]);
    expect(fixture.layers()).toHaveLength(1);
    expect(readdirSync(fixture.path("layers", fixture.layers()[0] ?? ""))).toContain("bin");
  });

  it("of a layer without a blob to make it from costs the images that are made of it", async () => {
    await using fixture = await ImageFixture.open();
    await fixture.pull(`${registryAddress}/${busybox}`);
    await fixture.images.close();
    rmSync(fixture.path("layers/records"), { recursive: true });
    rmSync(fixture.path("images/blobs"), { recursive: true });
    await fixture.reopen();
    expect(fixture.images.list()).toEqual([]);
    expect(fixture.layers()).toEqual([]);
    expect(fixture.log.some((line) => line.message.includes("incomplete image"))).toBe(true);
    await fixture.pull(`${registryAddress}/${busybox}`);
  });
});

describe("images in use", () => {
  it("stay until they are released, across restarts, but are no longer found", async () => {
    await using fixture = await ImageFixture.open();
    const image = await fixture.pull(`${registryAddress}/${busybox}`);
    const lease = await fixture.images.lease(image.id, "container");
    expect(lease.layerDirs).toEqual([fixture.path("layers", fixture.layers()[0] ?? "")]);
    await fixture.images.remove(image.id);
    expect(fixture.images.list()).toEqual([]);
    expect(fixture.images.find(image.id)).toBeUndefined();
    await expect(fixture.images.lease(image.id, "other")).rejects.toMatchObject({ code: "image-not-found" });
    expect(fixture.layers()).toHaveLength(1);
    await fixture.reopen();
    expect(fixture.layers()).toHaveLength(1);
    await fixture.images.retain(new Map([["container", image.id]]));
    expect(fixture.layers()).toHaveLength(1);
    await fixture.images.release("container");
    expect(fixture.layers()).toEqual([]);
    expect(readdirSync(fixture.path("images/blobs/sha256"))).toEqual([]);
  });

  it("come back to life by another pull", async () => {
    await using fixture = await ImageFixture.open();
    const image = await fixture.pull(`${registryAddress}/${busybox}`);
    await fixture.images.lease(image.id, "container");
    await fixture.images.remove(image.id);
    await fixture.pull(`${registryAddress}/${busybox}`);
    await fixture.images.release("container");
    expect(fixture.images.find(image.id)).toBeDefined();
    expect(fixture.layers()).toHaveLength(1);
  });

  it("go with the server's restart when nobody uses them any more", async () => {
    await using fixture = await ImageFixture.open();
    const image = await fixture.pull(`${registryAddress}/${busybox}`);
    await fixture.images.lease(image.id, "container");
    await fixture.images.remove(image.id);
    await fixture.reopen();
    await fixture.images.retain(new Map());
    expect(fixture.layers()).toEqual([]);
  });
});
