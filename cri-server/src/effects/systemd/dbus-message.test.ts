import { describe, expect, it } from "vitest";
import type { DbusMessage } from "./dbus-message.ts";
import { encodeMessage, MessageStream } from "./dbus-message.ts";

/** What busctl (sd-bus) sends for a call of StartTransientUnit with three properties. */
const recorded = Buffer.from(
  `6c0104017800000002000000b600000001016f00190000002f6f72672f667265656465736b746f702f73797374656d643100000000000000
   030173001200000053746172745472616e7369656e74556e697400000000000002017300200000006f72672e667265656465736b746f702e
   73797374656d64312e4d616e61676572000000000000000006017300180000006f72672e667265656465736b746f702e73797374656d6431
   000000000000000008016700107373612873762961287361287376292900000007000000782e73636f706500040000006661696c00000000
   500000000000000005000000536c6963650001730000000007000000612e736c696365000000000004000000504944730002617500000000
   040000004d000000080000005461736b734d617800017400ffffffffffffffff0000000000000000`.replace(/\s/g, ""),
  "hex",
);

const call: DbusMessage = {
  kind: "call",
  serial: 2,
  replySerial: 0,
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
  member: "StartTransientUnit",
  errorName: "",
  destination: "org.freedesktop.systemd1",
  signature: "ssa(sv)a(sa(sv))",
  body: [
    "x.scope",
    "fail",
    [
      ["Slice", { signature: "s", value: "a.slice" }],
      ["PIDs", { signature: "au", value: [77] }],
      ["TasksMax", { signature: "t", value: 2n ** 64n - 1n }],
    ],
    [],
  ],
};

describe("D-Bus messages", () => {
  it("of another implementation are understood", () => {
    expect(new MessageStream().push(recorded)).toEqual([call]);
  });

  it("have the same body as another implementation's, byte for byte", () => {
    const bodyBytes = recorded.readUInt32LE(4);
    const encoded = encodeMessage(call);
    expect(encoded.readUInt32LE(4)).toBe(bodyBytes);
    expect(encoded.subarray(-bodyBytes)).toEqual(recorded.subarray(-bodyBytes));
    expect(new MessageStream().push(encoded)).toEqual([call]);
  });

  it("are found in any slices of the stream", () => {
    const stream = new MessageStream();
    const two = Buffer.concat([recorded, recorded]);
    const found = [...two].flatMap((byte) => stream.push(Buffer.from([byte])));
    expect(found).toEqual([call, call]);
  });

  it.each([
    ["another byte order", (bytes: Buffer) => bytes.writeUInt8(0x42, 0)],
    ["a length without bounds", (bytes: Buffer) => bytes.writeUInt32LE(0x7fffffff, 4)],
    ["an array that is longer than its message", (bytes: Buffer) => bytes.writeUInt32LE(0x5000, 0xf0)],
  ])("with %s are refused", (_what, spoil) => {
    const bytes = Buffer.from(recorded);
    spoil(bytes);
    expect(() => new MessageStream().push(bytes)).toThrow("D-Bus");
  });
});
