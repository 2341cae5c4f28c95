import { describe, expect, it } from "vitest";
import {
  attr,
  attributeList,
  attributeText,
  decodeAttributes,
  decodeMessages,
  encodeMessages,
  nested,
  text,
  u16,
  u32,
} from "./wire.ts";

describe("attributes", () => {
  it("are padded to four bytes and keep their length", () => {
    expect(text(3, "abcd").toString("hex")).toBe("090003006162636400000000");
    expect(u16(1, 0x1234).toString("hex")).toBe("0600010034120000");
  });

  it("come back as they went", () => {
    const bytes = Buffer.concat([u32(4, 1500), text(3, "eth0"), nested(18, u16(1, 7), u16(1, 8))]);
    const found = decodeAttributes(bytes);
    expect(found.get(4)?.readUInt32LE()).toBe(1500);
    expect(attributeText(found.get(3))).toBe("eth0");
    expect(
      attributeList(found.get(18) ?? Buffer.alloc(0)).map(([type, value]) => [type, value.readUInt16LE()]),
    ).toEqual([
      [1, 7],
      [1, 8],
    ]);
  });

  it("with an impossible length end the list", () => {
    const bytes = Buffer.concat([u32(1, 1), Buffer.from("ffff0200", "hex"), u32(3, 3)]);
    expect([...decodeAttributes(bytes).keys()]).toEqual([1]);
    expect([...decodeAttributes(Buffer.from("0300", "hex")).keys()]).toEqual([]);
  });
});

describe("messages", () => {
  it("are numbered and split again", () => {
    const bytes = encodeMessages(
      [
        { type: 16, flags: 5, body: attr(1, Buffer.from("abc")) },
        { type: 17, flags: 1, body: Buffer.alloc(3) },
      ],
      41,
    );
    expect(
      decodeMessages(bytes).map(({ type, flags, seq, body }) => [type, flags, seq, body.length]),
    ).toEqual([
      [16, 5, 41, 8],
      [17, 1, 42, 3],
    ]);
  });

  it("that are cut short are left out", () => {
    const bytes = encodeMessages([{ type: 1, flags: 0, body: Buffer.alloc(8) }], 1);
    expect(decodeMessages(bytes.subarray(0, 20))).toEqual([]);
  });
});
