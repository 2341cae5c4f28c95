import { describe, expect, it } from "vitest";
import { errnos } from "../kernel/libc.ts";
import { Batch } from "./batch.ts";
import type { Header } from "./wire.ts";
import { messageType } from "./wire.ts";

const dumpWasInterrupted = 0x10;

function answer(seq: number, errno: number, type: number = messageType.error, flags = 0): Header {
  const body = Buffer.alloc(20);
  body.writeInt32LE(-errno);
  return { type, flags, seq, body };
}

const part = (seq: number, flags = 0): Header => ({ type: 16, flags, seq, body: Buffer.from([seq]) });

describe("a batch of requests", () => {
  it("is done when the last is acknowledged, and has the parts of each", async () => {
    const batch = new Batch(10, 3, false);
    expect([batch.has(9), batch.has(10), batch.has(12), batch.has(13)]).toEqual([false, true, true, false]);
    expect(batch.take(part(11))).toBe(false);
    expect(batch.take(answer(12, 0))).toBe(true);
    batch.settle();
    const replies = await batch.replies;
    expect(replies.map((reply) => [reply.errno, reply.parts.length])).toEqual([
      [0, 0],
      [0, 1],
      [0, 0],
    ]);
  });

  it("keeps an error until the last has come", async () => {
    const batch = new Batch(10, 3, false);
    expect(batch.take(answer(11, errnos.EEXIST))).toBe(false);
    expect(batch.take(answer(12, 0))).toBe(true);
    batch.settle();
    expect((await batch.replies).map((reply) => reply.errno)).toEqual([0, errnos.EEXIST, 0]);
  });

  it("ends with an error of the last", async () => {
    const batch = new Batch(10, 2, false);
    expect(batch.take(answer(11, errnos.ENOENT))).toBe(true);
    batch.settle();
    expect((await batch.replies).map((reply) => reply.errno)).toEqual([0, errnos.ENOENT]);
  });

  it("ends with any error, if it is brief", () => {
    expect(new Batch(10, 3, true).take(answer(10, errnos.EBUSY))).toBe(true);
    expect(new Batch(10, 3, true).take(answer(10, 0))).toBe(false);
  });

  it("says EINTR for a list that changed meanwhile, at whichever of its messages that is told", async () => {
    for (const [flagsOfPart, flagsOfEnd] of [
      [dumpWasInterrupted, 0],
      [0, dumpWasInterrupted],
    ] as const) {
      const batch = new Batch(1, 1, false);
      batch.take(part(1, flagsOfPart));
      expect(batch.take(answer(1, 0, messageType.done, flagsOfEnd))).toBe(true);
      batch.settle();
      expect((await batch.replies)[0]?.errno).toBe(errnos.EINTR);
    }
  });

  it("has one outcome for all when it is given up", async () => {
    const batch = new Batch(1, 2, false);
    batch.take(answer(1, errnos.EEXIST));
    batch.settle({ errno: 110, note: "no reply" });
    expect(await batch.replies).toEqual([
      { errno: 110, note: "no reply", parts: [] },
      { errno: 110, note: "no reply", parts: [] },
    ]);
  });
});
