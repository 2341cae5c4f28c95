import { describe, expect, it } from "vitest";
import { KeyedMutex, orAborted } from "./keyed-mutex.ts";

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("KeyedMutex", () => {
  it("runs work with one key in order, and with other keys at once", async () => {
    const mutex = new KeyedMutex();
    const log: string[] = [];
    const gate = Promise.withResolvers<void>();
    const first = mutex.run("a", async () => {
      log.push("a1");
      await gate.promise;
    });
    const second = mutex.run("a", async () => {
      log.push("a2");
    });
    await mutex.run("b", async () => {
      log.push("b");
    });
    expect(log).toEqual(["a1", "b"]);
    gate.resolve();
    await Promise.all([first, second]);
    expect(log).toEqual(["a1", "b", "a2"]);
    await tick();
    expect(mutex.size).toBe(0);
  });

  it("lets a waiter give up without letting the next one in", async () => {
    const mutex = new KeyedMutex();
    const gate = Promise.withResolvers<void>();
    const controller = new AbortController();
    let isFirstDone = false;
    const first = mutex.run("a", async () => {
      await gate.promise;
      isFirstDone = true;
    });
    const second = mutex.run("a", async () => "never", controller.signal);
    const third = mutex.run("a", async () => isFirstDone);
    controller.abort(new Error("gone"));
    await expect(second).rejects.toThrow("gone");
    gate.resolve();
    await first;
    expect(await third).toBe(true);
  });

  it("frees the key when work fails", async () => {
    const mutex = new KeyedMutex();
    await expect(mutex.run("a", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await mutex.run("a", async () => 1)).toBe(1);
  });
});

describe("orAborted", () => {
  it("rejects at once with the reason of a signal that has aborted", async () => {
    await expect(orAborted(new Promise(() => {}), AbortSignal.abort(new Error("late")))).rejects.toThrow(
      "late",
    );
  });
});
