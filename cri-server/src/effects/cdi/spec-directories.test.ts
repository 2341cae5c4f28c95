import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SpecDirectories } from "./spec-directories.ts";

let low: string;
let high: string;
let specs: SpecDirectories;

beforeEach(async () => {
  const dir = await mkdtemp("/tmp/berth-cdi-");
  low = join(dir, "low");
  high = join(dir, "high");
  await mkdir(low);
  specs = new SpecDirectories([low, high]);
});

afterEach(() => rm(join(low, ".."), { recursive: true }));

const spec = (device: string, value: string, more: object = {}) =>
  JSON.stringify({
    cdiVersion: "0.8.0",
    kind: "vendor.com/device",
    devices: [{ name: device, containerEdits: { env: [`D=${value}`] } }],
    ...more,
  });

const envOf = async (...names: string[]) =>
  (await specs.resolve(names.map((name) => `vendor.com/device=${name}`))).flatMap(({ env }) => env);

describe("the specs of several directories", () => {
  it("are found, JSON and YAML, and nothing else is", async () => {
    await writeFile(join(low, "a.json"), spec("a", "1"));
    await writeFile(
      join(low, "b.yaml"),
      "cdiVersion: 1.0.0\nkind: vendor.com/device\ndevices: [{name: b}]\n",
    );
    await writeFile(join(low, "c.txt"), spec("c", "1"));
    expect(await envOf("a", "b")).toEqual(["D=1"]);
    await expect(envOf("c")).rejects.toThrow('CDI_devices: "vendor.com/device=c" is not defined');
  });

  it("are overruled by a later directory's, even where two of the first differ", async () => {
    await writeFile(join(low, "a.json"), spec("a", "1"));
    await writeFile(join(low, "b.json"), spec("a", "2"));
    await expect(envOf("a")).rejects.toThrow(`is in both ${low}/b.json and ${low}/a.json`);
    await mkdir(high);
    await writeFile(join(high, "c.json"), spec("a", "3"));
    expect(await envOf("a")).toEqual(["D=3"]);
  });

  it("are seen anew when they change", async () => {
    await writeFile(join(low, "a.json"), spec("a", "1"));
    expect(await envOf("a")).toEqual(["D=1"]);
    await writeFile(join(low, "a.json"), spec("a", "4"));
    expect(await envOf("a")).toEqual(["D=4"]);
    await rm(join(low, "a.json"));
    await expect(envOf("a")).rejects.toThrow("is not defined");
  });

  it("give what is for all of their devices once, and first", async () => {
    const devices = ["a", "b"].map((name) => ({ name, containerEdits: { env: [`${name}=1`] } }));
    await writeFile(join(low, "a.json"), spec("", "", { devices, containerEdits: { env: ["ALL=1"] } }));
    expect(await envOf("b", "a")).toEqual(["ALL=1", "b=1", "a=1"]);
  });

  it("that can't be used are named to who asks for something unknown, and harm nobody else", async () => {
    await writeFile(join(low, "a.json"), spec("a", "1"));
    await writeFile(join(low, "bad.json"), "{");
    expect(await envOf("a")).toEqual(["D=1"]);
    await expect(envOf("b")).rejects.toThrow(`CDI spec ${low}/bad.json: `);
  });
});
