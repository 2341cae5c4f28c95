import type { DeviceRule } from "../../ports/cgroups.ts";

/**
 * A BPF_PROG_TYPE_CGROUP_DEVICE program for a rule list (cgroup v2 has no devices controller). The rules are tried from the
 * last to the first, and the first that fits decides, which is what v1's list amounts to; without one the answer is no.
 */
export function deviceProgram(rules: readonly DeviceRule[]): Buffer {
  // struct bpf_cgroup_dev_ctx (linux/bpf.h): access_type (type in the low, access in the high half), major, minor.
  const code: Instruction[] = [
    load(R.type, 0),
    move(R.access, R.type),
    aluImmediate(op.rightShift, R.access, 16),
    aluImmediate(op.and, R.type, 0xffff),
    load(R.major, 4),
    load(R.minor, 8),
  ];
  for (const rule of rules.toReversed()) {
    code.push(...ruleCode(rule));
    // Nothing after a rule for everything can be reached, and the verifier refuses dead code.
    if (fitsAll(rule)) return encode(code);
  }
  return encode([...code, ...answer(false)]);
}

interface Instruction {
  readonly opcode: number;
  readonly destination: number;
  readonly source: number;
  readonly offset: number;
  readonly immediate: number;
}

/** Which register holds what. r1 is the context and, once read, scratch. */
const R = { result: 0, scratch: 1, type: 2, access: 3, major: 4, minor: 5 } as const;
/** Classes and operations of linux/bpf_common.h, 32-bit. */
const op = {
  rightShift: 0x74,
  and: 0x54,
  moveRegister: 0xbc,
  moveImmediate: 0xb4,
  notEqual: 0x56,
  load: 0x61,
  exit: 0x95,
};
/** Skip when the register is not the other register. */
const notEqualRegister = 0x5e;
const deviceType = { b: 1, c: 2 } as const;
const accessBit: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
const allAccess = 7;

function ruleCode(rule: DeviceRule): readonly Instruction[] {
  const end = answer(rule.allow);
  const tests: Instruction[] = [];
  // Each test skips the rest of this rule; how far is filled in once its length is known.
  if (rule.type !== "a") tests.push(skipUnlessEqual(R.type, deviceType[rule.type]));
  const access = accessMask(rule.access);
  if (access !== allAccess) {
    // An allow rule has to hold all wanted bits; a deny rule catches any of them. Ours deny whole devices only.
    tests.push(move(R.scratch, R.access), aluImmediate(op.and, R.scratch, access), {
      opcode: notEqualRegister,
      destination: R.scratch,
      source: R.access,
      offset: 0,
      immediate: 0,
    });
  }
  if (rule.major !== undefined) tests.push(skipUnlessEqual(R.major, rule.major));
  if (rule.minor !== undefined) tests.push(skipUnlessEqual(R.minor, rule.minor));
  const length = tests.length + end.length;
  const patched = tests.map((test, index) =>
    test.opcode === op.notEqual || test.opcode === notEqualRegister
      ? { ...test, offset: length - index - 1 }
      : test,
  );
  return [...patched, ...end];
}

function fitsAll(rule: DeviceRule): boolean {
  return (
    rule.type === "a" &&
    rule.major === undefined &&
    rule.minor === undefined &&
    accessMask(rule.access) === allAccess
  );
}

function accessMask(access: string): number {
  return [...access].reduce((mask, letter) => mask | (accessBit[letter] ?? 0), 0);
}

function answer(allow: boolean): readonly Instruction[] {
  return [
    { opcode: op.moveImmediate, destination: R.result, source: 0, offset: 0, immediate: allow ? 1 : 0 },
    { opcode: op.exit, destination: 0, source: 0, offset: 0, immediate: 0 },
  ];
}

function load(destination: number, offset: number): Instruction {
  return { opcode: op.load, destination, source: R.scratch, offset, immediate: 0 };
}

function move(destination: number, source: number): Instruction {
  return { opcode: op.moveRegister, destination, source, offset: 0, immediate: 0 };
}

function aluImmediate(opcode: number, destination: number, immediate: number): Instruction {
  return { opcode, destination, source: 0, offset: 0, immediate };
}

function skipUnlessEqual(destination: number, immediate: number): Instruction {
  return { opcode: op.notEqual, destination, source: 0, offset: 0, immediate };
}

function encode(code: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(code.length * 8);
  code.forEach((instruction, index) => {
    const at = index * 8;
    bytes.writeUInt8(instruction.opcode, at);
    bytes.writeUInt8(instruction.destination | (instruction.source << 4), at + 1);
    bytes.writeInt16LE(instruction.offset, at + 2);
    bytes.writeInt32LE(instruction.immediate, at + 4);
  });
  return bytes;
}
