import { describe, expect, it } from "vitest";
import { SharedWork } from "./shared-work.ts";

const never = new AbortController().signal;

describe("shared work", () => {
  it("is done once for all who ask at the same time", async () => {
    const shared = new SharedWork<number>();
    let runs = 0;
    const work = async (): Promise<number> => {
      runs += 1;
      await Promise.resolve();
      return runs;
    };
    const answers = await Promise.all([1, 2, 3].map(async () => await shared.run("k", never, work)));
    expect(answers).toEqual([1, 1, 1]);
    expect(await shared.run("k", never, work)).toBe(2);
  });

  it("goes on until the last one has given up", async () => {
    const shared = new SharedWork<void>();
    const [first, second] = [new AbortController(), new AbortController()];
    let stopped = false;
    const work = async (signal: AbortSignal): Promise<void> => {
      await new Promise<void>((_, reject) => {
        signal.addEventListener("abort", () => {
          stopped = true;
          reject(signal.reason);
        });
      });
    };
    const one = shared.run("k", first.signal, work);
    const two = shared.run("k", second.signal, work);
    first.abort(new Error("first"));
    await expect(one).rejects.toThrow("first");
    expect(stopped).toBe(false);
    second.abort(new Error("second"));
    await expect(two).rejects.toThrow("second");
    expect(stopped).toBe(true);
  });

  it("gives the failure to everybody", async () => {
    const shared = new SharedWork<void>();
    const work = async (): Promise<void> => {
      await Promise.resolve();
      throw new Error("broken");
    };
    const all = [shared.run("k", never, work), shared.run("k", never, work)];
    await expect(all[0]).rejects.toThrow("broken");
    await expect(all[1]).rejects.toThrow("broken");
  });
});
