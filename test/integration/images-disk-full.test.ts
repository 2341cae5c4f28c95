import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { run } from "../lib/command.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";

const nginx = `${registryAddress}/e2e-test-images/nginx:1.14-2`;

describe("a full disk", () => {
  let small: string;
  beforeEach(async () => {
    small = mkdtempSync("/var/tmp/berth-small-");
    await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small]);
  });
  afterEach(async () => {
    await run("umount", [small]);
    rmSync(small, { recursive: true });
  });

  const files = (fixture: ImageFixture): readonly string[] =>
    ["images/ingest", "images/records", "images/blobs/sha256", "layers/tmp", "layers/records"].flatMap(
      (name) => readdirSync(fixture.path(name)),
    );

  it("at any point of a pull is a clear error, and what was taken is free again", {
    timeout: 120_000,
  }, async () => {
    await using fixture = await ImageFixture.open({ parent: small });
    let failures = 0;
    for (let size = 1024; ; size += 1024) {
      await run("mount", ["-o", `remount,size=${size}k`, small]);
      const pulled = await fixture.pull(nginx).catch((error: unknown) => error);
      if (!(pulled instanceof Error)) {
        break;
      }
      failures += 1;
      expect(pulled).toMatchObject({
        code: "resource-exhausted",
        message: expect.stringMatching(/disk of the images is full/),
      });
      expect(fixture.images.list()).toEqual([]);
      expect(fixture.layers()).toEqual([]);
      expect(files(fixture)).toEqual([]);
    }
    expect(failures).toBeGreaterThan(8);
    expect(await fixture.images.verify()).toEqual([]);
    // Nothing has to be written to make room.
    await run("mount", ["-o", "remount,size=1k", small]).catch(() => {});
    await fixture.images.remove(nginx);
    expect(files(fixture)).toEqual([]);
  });
});
