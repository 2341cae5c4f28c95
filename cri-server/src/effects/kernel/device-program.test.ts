import { describe, expect, it } from "vitest";
import type { DeviceRule } from "../../ports/cgroups.ts";
import { deviceProgram } from "./device-program.ts";

const rule = (text: string): DeviceRule => {
  const [verb, type, numbers = "*:*", access = "rwm"] = text.split(" ");
  const [major, minor] = numbers.split(":").map((part) => (part === "*" ? undefined : Number(part)));
  return { allow: verb === "allow", type: type as DeviceRule["type"], major, minor, access };
};

/** Runs the program as the kernel would, for one access. */
function decide(program: Buffer, type: "c" | "b", major: number, minor: number, access: string): boolean {
  const bits = [...access].reduce((mask, letter) => mask | ({ m: 1, r: 2, w: 4 }[letter] ?? 0), 0);
  const context = [(bits << 16) | (type === "b" ? 1 : 2), major, minor];
  const registers = new Array<number>(11).fill(0);
  for (let at = 0; ; at += 8) {
    const opcode = program.readUInt8(at);
    const destination = program.readUInt8(at + 1) & 15;
    const source = program.readUInt8(at + 1) >> 4;
    const offset = program.readInt16LE(at + 2);
    const immediate = program.readInt32LE(at + 4);
    const left = registers[destination] ?? 0;
    const right = registers[source] ?? 0;
    if (opcode === 0x95) return registers[0] === 1;
    if (opcode === 0x61) registers[destination] = context[offset / 4] ?? 0;
    else if (opcode === 0xbc) registers[destination] = right;
    else if (opcode === 0xb4) registers[destination] = immediate;
    else if (opcode === 0x54) registers[destination] = left & immediate;
    else if (opcode === 0x74) registers[destination] = left >>> immediate;
    else if (opcode === 0x56) at += left !== immediate ? offset * 8 : 0;
    else if (opcode === 0x5e) at += left !== right ? offset * 8 : 0;
    else throw new Error(`opcode ${opcode.toString(16)}`);
  }
}

describe("deviceProgram", () => {
  const program = deviceProgram(
    ["deny a", "allow c *:* m", "allow c 1:3 rwm", "allow c 136:*", "allow b 8:0 r"].map(rule),
  );
  it.each([
    ["c", 1, 3, "rw", true],
    ["c", 1, 5, "r", false],
    ["c", 1, 5, "m", true],
    ["b", 1, 5, "m", false],
    ["c", 136, 9, "rw", true],
    ["b", 136, 9, "rw", false],
    ["b", 8, 0, "r", true],
    ["b", 8, 0, "rw", false],
    ["b", 8, 1, "r", false],
  ] as const)("%s %d:%d %s is %s", (type, major, minor, access, expected) => {
    expect(decide(program, type, major, minor, access)).toBe(expected);
  });

  it("lets the last rule win", () => {
    const rules = ["deny a", "allow c 5:1", "deny c 5:1"].map(rule);
    expect(decide(deviceProgram(rules), "c", 5, 1, "r")).toBe(false);
    expect(decide(deviceProgram([...rules, rule("allow a")]), "c", 5, 1, "r")).toBe(true);
  });

  it("denies what no rule names", () => {
    expect(decide(deviceProgram([]), "c", 1, 3, "r")).toBe(false);
  });
});
