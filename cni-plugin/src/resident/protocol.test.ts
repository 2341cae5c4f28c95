import { describe, expect, it } from "vitest";
import { decodeRequest, encodeAnswer } from "./protocol.ts";

function request(env: string, stdin: string, version = 1): Buffer {
  const header = Buffer.alloc(24);
  header.write("BCNI");
  header.writeUInt32LE(version, 4);
  header.writeInt32LE(5, 8);
  header.writeInt32LE(-1, 12);
  header.writeUInt32LE(env.length, 16);
  header.writeUInt32LE(stdin.length, 20);
  return Buffer.concat([header, Buffer.from(env), Buffer.from(stdin)]);
}

describe("decodeRequest", () => {
  const whole = request("A=1\0B=x=y\0", "{}");

  it("reads environment, input and descriptors", () => {
    expect(decodeRequest(whole)).toEqual({
      ownNetnsFd: 5,
      netnsFd: -1,
      env: { A: "1", B: "x=y" },
      stdin: Buffer.from("{}"),
    });
  });

  it("waits for every byte", () => {
    for (let length = 0; length < whole.length; length++) {
      expect(decodeRequest(whole.subarray(0, length))).toBeUndefined();
    }
  });

  it("refuses another version, another program, too much, and a launcher that gave up", () => {
    expect(decodeRequest(request("", "", 2))).toBe("refuse");
    expect(decodeRequest(Buffer.alloc(24))).toBe("refuse");
    const huge = request("", "");
    huge.writeUInt32LE(0xffffffff, 20);
    expect(decodeRequest(huge)).toBe("refuse");
    expect(decodeRequest(Buffer.concat([whole, Buffer.from("C")]))).toBe("refuse");
  });
});

it("encodeAnswer puts exit code and size first", () => {
  expect(encodeAnswer({ exitCode: 1, stdout: Buffer.from("ab") }).toString("hex")).toBe(
    "01000000020000006162",
  );
});
