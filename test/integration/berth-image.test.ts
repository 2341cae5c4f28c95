import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { type Outcome, outcomeOf } from "../lib/command.ts";
import { testImage } from "../lib/registry.ts";

const busybox = testImage("e2e-test-images/busybox:1.29-2");
const command = join(import.meta.dirname, "../../dist/berth");

let server: Berthd;
beforeAll(async () => {
  server = await Berthd.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const berth = async (...words: readonly string[]): Promise<Outcome> =>
  await outcomeOf(command, ["--socket", join(server.dir, "run/admin.sock"), "image", ...words]);

describe("berth image", () => {
  it("pulls, lists, names, inspects, saves, loads, verifies and removes", async () => {
    const pulled = await berth("pull", busybox);
    expect(pulled).toMatchObject({ code: 0, stderr: "" });
    const id = pulled.stdout.trim();
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect((await berth("tag", busybox, "local/box:1")).stdout).toContain("docker.io/local/box:1");
    const listed = (await berth("list")).stdout.trim().split("\n");
    expect(listed).toHaveLength(3);
    expect(listed[1]).toMatch(/^registry\.test\/e2e-test-images\/busybox:1\.29-2 +[0-9a-f]{13} +2\.1 MB$/);
    const details = JSON.parse((await berth("inspect", "local/box:1")).stdout) as {
      config: { rootfs: { diff_ids: string[] } };
      layers: { diffId: string; directory: string }[];
    };
    expect(details.layers.map((layer) => layer.diffId)).toEqual(details.config.rootfs.diff_ids);
    expect(details.layers[0]?.directory).toMatch(new RegExp(`^${server.dir}/lib/layers/[0-9a-f]{24}$`));
    const archive = join(server.dir, "box.tar");
    expect(await berth("save", "-o", archive, "local/box:1")).toMatchObject({ code: 0 });
    expect(await berth("verify")).toMatchObject({ code: 0, stdout: "the store is whole\n" });
    expect((await berth("remove", id)).code).toBe(0);
    expect((await server.image.listImages()).images).toEqual([]);
    expect((await berth("load", archive)).stdout).toBe(`${id} ${busybox} docker.io/local/box:1\n`);
    expect((await server.image.imageStatus({ image: { image: busybox } })).image?.id).toBe(id);
    rmSync(archive);
  });

  it("says what is wrong, with an exit code", async () => {
    expect(await berth("inspect", "nothing")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/nothing.*not in the store/),
    });
    expect(await berth("pull", testImage("none:1"))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/not found/),
    });
    expect(await berth("load", "/no/such/file")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no\/such\/file/),
    });
    expect(await berth("dance")).toMatchObject({
      code: 64,
      stderr: expect.stringMatching(/unknown verb dance/),
    });
    expect(await outcomeOf(command, ["--socket", "/nowhere.sock", "image", "list"])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/can't be reached/),
    });
  });
});
