import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { largeImage } from "../lib/large-image.ts";
import { residentMiB } from "../lib/memory.ts";
import { pull } from "../lib/pod.ts";

const probe = join(import.meta.dirname, "../lib/loop-probe.ts");
const rounds = 3;

describe("a pull of five layers, 150 MB", () => {
  let server: Berthd;
  let image: string;
  let figures: string;

  beforeAll(async () => {
    image = await largeImage();
    server = await Berthd.start({
      flags: ["--log-level", "info"],
      env: { NODE_OPTIONS: `--import ${probe}`, BERTH_LOOP_PROBE: "/run/berth-loop-probe" },
    });
    figures = "/run/berth-loop-probe";
  }, 300_000);

  afterAll(() => server[Symbol.asyncDispose]());

  /** Milliseconds of the longest turns since the last call. */
  async function longestTurns(): Promise<readonly number[]> {
    process.kill(server.pid, "SIGUSR2");
    const text = await eventually(() => {
      if (!existsSync(figures)) throw new Error("the probe has not answered");
      return readFileSync(figures, "utf8");
    });
    rmSync(figures);
    return JSON.parse(text) as readonly number[];
  }

  it("holds up other calls for 10 ms at most, and takes 64 MiB of memory at most", {
    timeout: 300_000,
  }, async () => {
    const turns: (readonly number[])[] = [];
    const grown: number[] = [];
    // What runs for the first time is compiled first: up to 11 ms, once in the server's life.
    await pull(server);
    await longestTurns();
    for (let round = 0; round < rounds; round++) {
      const before = residentMiB(server.pid);
      let peak = before;
      const timer = setInterval(() => {
        peak = Math.max(peak, residentMiB(server.pid));
      }, 20);
      await server.image.pullImage({ image: { image } });
      clearInterval(timer);
      turns.push(await longestTurns());
      grown.push(peak - before);
      await server.image.removeImage({ image: { image } });
    }
    const show = (values: readonly number[]): string => values.map((value) => value.toFixed(1)).join(" ");
    console.log(
      `longest turns ${show(
        turns
          .flat()
          .toSorted((a, b) => b - a)
          .slice(0, 10),
      )} ms, grown by ${show(grown)} MiB`,
    );
    expect(Math.max(...turns.flat())).toBeLessThanOrEqual(10);
    expect(Math.max(...grown)).toBeLessThanOrEqual(64);
  });
});
