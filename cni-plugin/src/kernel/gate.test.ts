import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Gate } from "./gate.ts";
import { LockFile } from "./lock.ts";

let directory = "";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "cni-gate-"));
});
afterAll(() => rm(directory, { recursive: true }));

describe("Gate", () => {
  it("lets shared callers in together and an exclusive one alone", async () => {
    const gate = new Gate(join(directory, "a"));
    const [one, two] = await Promise.all([gate.acquire("shared"), gate.acquire("shared")]);
    let inside = false;
    const third = gate.acquire("exclusive").then((held) => {
      inside = true;
      return held;
    });
    await one.release();
    await turn();
    expect(inside).toBe(false);
    await two.release();
    await (await third).release();
    expect(inside).toBe(true);
  });

  it("does not let shared callers pass an exclusive one that waits", async () => {
    const gate = new Gate(join(directory, "b"));
    const order: string[] = [];
    const first = await gate.acquire("shared");
    const work = (mode: "shared" | "exclusive"): Promise<void> =>
      gate.acquire(mode).then((held) => {
        order.push(mode);
        return held.release();
      });
    const all = Promise.all([work("exclusive"), work("shared")]);
    await first.release();
    await all;
    expect(order).toEqual(["exclusive", "shared"]);
  });

  it("gives the file up when nobody is inside", async () => {
    const path = join(directory, "c");
    const gate = new Gate(path);
    const held = await gate.acquire("exclusive");
    await held.release();
    const other = new LockFile(path);
    await other.lock("exclusive");
    await other.close();
    await (await gate.acquire("shared")).release();
  });

  it("follows when someone removes the file", async () => {
    const path = join(directory, "e");
    const gate = new Gate(path);
    await (await gate.acquire("exclusive")).release();
    await rm(path);
    const held = await gate.acquire("exclusive");
    expect((await stat(path)).isFile()).toBe(true);
    await held.release();
  });

  it("serves many callers in a row", async () => {
    const gate = new Gate(join(directory, "d"));
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        const held = await gate.acquire("exclusive");
        inside += 1;
        most = Math.max(most, inside);
        await turn();
        inside -= 1;
        await held.release();
      }),
    );
    expect(most).toBe(1);
  });
});
