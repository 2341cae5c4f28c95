import { describe, expect, it } from "vitest";
import { encodeFrame, scanFrames } from "./frame.ts";

const frame = (text: string): Buffer => encodeFrame(Buffer.from(text));
const texts = (bytes: Buffer): string[] => scanFrames(bytes).payloads.map((payload) => payload.toString());

describe("scanFrames", () => {
  it("reads what was written, up to preallocated zeros", () => {
    const bytes = Buffer.concat([frame("one"), frame("two"), Buffer.alloc(4096)]);
    const scan = scanFrames(bytes);
    expect(scan.payloads.map(String)).toEqual(["one", "two"]);
    expect(scan.damaged).toEqual([]);
    expect(scan.end).toBe(frame("one").length + frame("two").length);
  });

  it("leaves out a torn last frame", () => {
    const whole = Buffer.concat([frame("one"), frame("two")]);
    for (let cut = frame("one").length + 1; cut < whole.length; cut++) {
      expect(texts(whole.subarray(0, cut))).toEqual(["one"]);
    }
  });

  it("skips a damaged frame and reads those behind it", () => {
    const bytes = Buffer.concat([frame("one"), frame("two"), frame("three")]);
    for (let at = frame("one").length; at < frame("one").length + frame("two").length; at++) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0xff, at);
      expect(texts(damaged)).toEqual(["one", "three"]);
      expect(scanFrames(damaged).damaged.length).toBe(1);
    }
  });

  it("reads a frame behind a hole of zeros", () => {
    expect(texts(Buffer.concat([frame("one"), Buffer.alloc(512), frame("two")]))).toEqual(["one", "two"]);
  });

  it("is not misled by the magic inside a payload", () => {
    expect(texts(Buffer.concat([frame("BRJ1BRJ1"), frame("x")]))).toEqual(["BRJ1BRJ1", "x"]);
  });
});
