import { describe, expect, it } from "vitest";
import { encodeFrame, FrameSplitter, PayloadReader, PayloadWriter } from "./frames.ts";

const payload = new PayloadWriter()
  .u32(7)
  .bytes(Buffer.from("höhe"))
  .u64(2n ** 60n)
  .bytes(Buffer.from([1, 2, 3]))
  .finish();

describe("payloads", () => {
  it("come back as they were put in", () => {
    const reader = new PayloadReader(payload);
    expect([reader.u32(), reader.text(), reader.u64(), [...reader.bytes()]]).toEqual([
      7,
      "höhe",
      2n ** 60n,
      [1, 2, 3],
    ]);
    expect(reader.rest()).toHaveLength(0);
  });

  it("that end too early are refused", () => {
    expect(() => new PayloadReader(payload.subarray(0, 10)).u64()).not.toThrow();
    const reader = new PayloadReader(payload.subarray(0, 10));
    reader.u32();
    expect(() => reader.text()).toThrow(RangeError);
    expect(() => reader.u64()).toThrow(RangeError);
  });
});

describe("texts", () => {
  it("end with a NUL, and have none inside", () => {
    expect([...new PayloadWriter().text("ab").finish()]).toEqual([2, 0, 0, 0, 97, 98, 0]);
    expect(() => new PayloadWriter().text("a\0b")).toThrow(RangeError);
  });
});

describe("FrameSplitter", () => {
  const stream = Buffer.concat([
    encodeFrame(64, 1, payload),
    encodeFrame(65, 2, Buffer.alloc(0)),
    encodeFrame(66, 0xffff_ffff, Buffer.alloc(100_000, 5)),
  ]);

  it.each([1, 5, 12, 13, 1000, stream.length])("finds the same frames in pieces of %i bytes", (size) => {
    const splitter = new FrameSplitter();
    const frames = [];
    for (let at = 0; at < stream.length; at += size)
      frames.push(...splitter.push(stream.subarray(at, at + size)));
    expect(frames.map((frame) => [frame.type, frame.request, frame.payload.rest().length])).toEqual([
      [64, 1, payload.length],
      [65, 2, 0],
      [66, 0xffff_ffff, 100_000],
    ]);
  });

  it("refuses a length that can't be meant", () => {
    expect(() => new FrameSplitter().push(Buffer.alloc(12, 0xff))).toThrow(RangeError);
  });
});
