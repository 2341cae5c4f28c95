import { describe, expect, it } from "vitest";
import { BerthError } from "../../cri-server/src/errors/berth-error.ts";
import { type Fault, FaultyRegistry, seededFaults } from "../lib/faulty-registry.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";
import { isLongRun } from "../lib/sizes.ts";

const small = "k8s-staging-cri-tools/test-image-1";
const large = "e2e-test-images/nginx:1.14-2";

/** Small enough that the images of the tests are fetched in ranges. */
const ranges = { threshold: 1 << 20, segment: 512 << 10, parallel: 3, window: 2 << 20, bulk: 128 << 10 };

const everyFault: readonly Fault[] = [
  "refuse",
  "cut",
  "reset",
  "flip",
  "stall",
  "429",
  "500",
  "503",
  "html",
  "no-range",
  "short-length",
  "endless",
  "chunked",
  "denied",
];

/** Of four pulls at a time. */
const rounds = isLongRun ? 50 : 15;

describe("a registry at its worst", () => {
  it(`${4 * rounds} pulls end right or with a clear error, and the store is clean`, {
    timeout: 240_000,
  }, async () => {
    await using proxy = await FaultyRegistry.start(registryAddress);
    await using fixture = await ImageFixture.open({ stallTimeoutSeconds: 0.3, ranges });
    proxy.choose = seededFaults(20261124, 0.25, everyFault);
    const names = [
      small,
      large,
      "e2e-test-images/httpd:2.4.39-4",
      "k8s-staging-cri-tools/test-image-tags:1",
      "pause:3.9",
    ];
    const outcomes = { right: 0, wrong: 0 };
    const expected = new Map<string, string>();
    for (const name of names) {
      await using direct = await ImageFixture.open();
      expected.set(name, (await direct.pull(`${registryAddress}/${name}`)).id);
    }
    for (let round = 0; round < rounds; round++) {
      await Promise.all(
        [0, 1, 2, 3].map(async (n) => {
          const name = names[(round + n) % names.length] ?? small;
          const reference = `${proxy.address}/${name}`;
          try {
            expect((await fixture.pull(reference)).id).toBe(expected.get(name));
            outcomes.right += 1;
          } catch (error) {
            expect(error).toBeInstanceOf(BerthError);
            expect((error as BerthError).code).toMatch(/^(pull-failed|registry-unavailable)$/);
            outcomes.wrong += 1;
          }
          if (round % 3 === n % 3) await fixture.images.remove(reference);
        }),
      );
    }
    expect(outcomes.right + outcomes.wrong).toBe(4 * rounds);
    expect(outcomes.right).toBeGreaterThan(1.2 * rounds);
    expect(await fixture.images.verify()).toEqual([]);
    proxy.choose = () => "none";
    for (const name of names) await fixture.pull(`${proxy.address}/${name}`);
    expect(await fixture.images.verify()).toEqual([]);
    for (const image of fixture.images.list()) await fixture.images.remove(image.id);
    expect(fixture.layers()).toEqual([]);
  });

  it.each<[Fault, number]>([
    ["cut", 2],
    ["reset", 2],
    ["stall", 2],
    ["flip", 2],
    ["500", 2],
    ["503", 2],
    ["429", 2],
    ["refuse", 2],
    ["short-length", 2],
    ["chunked", 1],
  ])("%s once on every blob and manifest is survived", async (fault, times) => {
    await using proxy = await FaultyRegistry.start(registryAddress);
    await using fixture = await ImageFixture.open({ stallTimeoutSeconds: 0.3 });
    const counts = new Map<string, number>();
    proxy.choose = (path) => {
      counts.set(path, (counts.get(path) ?? 0) + 1);
      return counts.get(path) === 1 ? fault : "none";
    };
    await fixture.pull(`${proxy.address}/${large}`);
    expect(Math.max(...counts.values())).toBeGreaterThanOrEqual(times);
    expect(await fixture.images.verify()).toEqual([]);
  });

  it("asks for the rest of a broken blob, not for all of it again", async () => {
    await using proxy = await FaultyRegistry.start(registryAddress);
    await using fixture = await ImageFixture.open();
    let blobs = 0;
    proxy.choose = (path) => (path.includes("/blobs/") && blobs++ < 6 ? "cut" : "none");
    await fixture.pull(`${proxy.address}/${large}`);
    const resumed = proxy.seen("/blobs/").filter((one) => one.range !== undefined);
    expect(resumed.length).toBeGreaterThanOrEqual(2);
    for (const { range } of resumed) expect(range).toMatch(/^bytes=[1-9]\d*-\d+$/);
  });

  it.each<[Fault, RegExp, number]>([
    ["denied", /unauthorized.*403/, 1],
    ["503", /^RegistryUnavailable: .*503/, 5],
    ["429", /^RegistryUnavailable: .*429.*slow down/, 5],
    ["html", /not JSON|unknown media type/, 1],
  ])("%s for ever ends the pull after as many tries as make sense", async (fault, message, tries) => {
    await using proxy = await FaultyRegistry.start(registryAddress);
    await using fixture = await ImageFixture.open();
    proxy.choose = () => fault;
    await expect(fixture.pull(`${proxy.address}/${small}`)).rejects.toThrow(message);
    expect(proxy.exchanges).toHaveLength(tries);
  });

  it("a blob that is wrong every time is given up, and nothing of it is kept", async () => {
    await using proxy = await FaultyRegistry.start(registryAddress);
    await using fixture = await ImageFixture.open();
    proxy.choose = (path) => (path.includes("/blobs/") ? "flip" : "none");
    await expect(fixture.pull(`${proxy.address}/${small}`)).rejects.toMatchObject({ code: "pull-failed" });
    expect(fixture.images.list()).toEqual([]);
    expect(fixture.layers()).toEqual([]);
  });

  it("ends when a range is refused for which the others wait", async () => {
    await using proxy = await FaultyRegistry.start(registryAddress);
    await using fixture = await ImageFixture.open({
      stallTimeoutSeconds: 0.3,
      ranges: { ...ranges, window: 2 * ranges.segment },
    });
    const { segment } = ranges;
    // The second range stalls until the others have come as far as they may.
    proxy.choose = (_path, range) => {
      if (range === `bytes=${segment}-${2 * segment - 1}`) return "stall";
      return range?.endsWith(`-${2 * segment - 1}`) ? "denied" : "none";
    };
    await expect(fixture.pull(`${proxy.address}/${large}`)).rejects.toThrow(/blob sha256:.*403/);
    expect(fixture.images.list()).toEqual([]);
  });

  it("fetches a large blob in ranges side by side, and falls back where there are none", async () => {
    for (const fault of ["none", "no-range"] as const) {
      await using proxy = await FaultyRegistry.start(registryAddress);
      await using fixture = await ImageFixture.open({ ranges });
      proxy.choose = () => fault;
      await fixture.pull(`${proxy.address}/${large}`);
      const ranged = proxy.seen("/blobs/").filter((one) => one.range !== undefined);
      expect(ranged.length > 5).toBe(fault === "none");
      expect(await fixture.images.verify()).toEqual([]);
    }
  });
});
