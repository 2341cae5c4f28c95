import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Change } from "./journal.ts";
import { Journal } from "./journal.ts";

let directory = "";
const opened: Journal[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "berth-journal-"));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((journal) => journal.close()));
  await rm(directory, { recursive: true });
});

const payload = (key: string, value: string): Buffer => Buffer.from(`${key}=${value}`);

function decode(bytes: Buffer): Change | undefined {
  const text = bytes.toString();
  const cut = text.indexOf("=");
  if (cut === -1) {
    return undefined;
  }
  const key = text.slice(0, cut);
  return cut === text.length - 1 ? { key, payload: undefined } : { key, payload: bytes };
}

async function open(): Promise<{
  readonly journal: Journal;
  readonly found: Record<string, string>;
  readonly damaged: number;
}> {
  const journal = new Journal(join(directory, "journal"), (key) => Buffer.from(`${key}=`));
  const content = await journal.load(decode);
  const found = Object.fromEntries([...content.entries].map(([key, bytes]) => [key, bytes.toString()]));
  opened.push(journal);
  return { journal, found, damaged: content.damaged.length };
}

describe("Journal", () => {
  it("finds the newest value of each key again", async () => {
    const { journal } = await open();
    await journal.put("a", payload("a", "1"));
    await Promise.all([journal.put("a", payload("a", "2")), journal.put("b", payload("b", "1"))]);
    await journal.delete("b");
    // Read before it is closed, as after kill -9.
    const again = await open();
    expect(again.found).toEqual({ a: "a=2" });
  });

  it("flushes what arrives together once", async () => {
    const { journal } = await open();
    const done: number[] = [];
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        journal.put(`k${index}`, payload(`k${index}`, "v")).then(() => done.push(index)),
      ),
    );
    expect(done.length).toBe(50);
    await journal.close();
    expect(Object.keys((await open()).found).length).toBe(50);
  });

  it("survives a torn end", async () => {
    const { journal } = await open();
    await journal.put("a", payload("a", "1"));
    await journal.put("b", payload("b", "1"));
    await journal.close();
    const path = join(directory, "journal");
    const bytes = await readFile(path);
    const at = bytes.indexOf("b=1");
    bytes.fill(0, at);
    await writeFile(path, bytes);
    const again = await open();
    expect(again.found).toEqual({ a: "a=1" });
    expect(again.damaged).toBe(1);
    expect((await readFile(`${path}.damaged`)).length).toBe(bytes.length);
  });

  it("leaves out a record that can't be understood", async () => {
    const { journal } = await open();
    await journal.put("a", Buffer.from("garbage"));
    await journal.put("b", payload("b", "1"));
    await journal.close();
    expect((await open()).found).toEqual({ b: "b=1" });
  });

  it("is rewritten when most of it is history", async () => {
    const { journal } = await open();
    const large = "x".repeat(64 * 1024);
    for (let round = 0; round < 300; round++) {
      await journal.put("a", payload("a", `${round}${large}`));
    }
    await journal.close();
    expect((await stat(join(directory, "journal"))).size).toBeLessThan(12 * 1024 * 1024);
    expect((await open()).found.a?.startsWith("a=299x")).toBe(true);
  });
});
