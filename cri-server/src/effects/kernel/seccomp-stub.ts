/** What the stub decides for one architecture before libseccomp's own filter runs. */
export interface StubArchitecture {
  /** AUDIT_ARCH_*. */
  readonly audit: number;
  /** x86-64: numbers from 0x40000000 up are x32's, which libseccomp's part refuses. */
  readonly hasX32: boolean;
  /** Largest number that the profile names; -1 for none. */
  newest: number;
  /** Calls decided here, by number: those that the installed libseccomp doesn't know. */
  readonly direct: { readonly number: number; readonly action: number }[];
}

/** Numbers of calls that were added with one number for all architectures, up to Linux 6.18. */
const unified: Readonly<Record<string, number>> = {
  cachestat: 451,
  fchmodat2: 452,
  map_shadow_stack: 453,
  futex_wake: 454,
  futex_wait: 455,
  futex_requeue: 456,
  statmount: 457,
  listmount: 458,
  lsm_get_self_attr: 459,
  lsm_set_self_attr: 460,
  lsm_list_modules: 461,
  mseal: 462,
  setxattrat: 463,
  getxattrat: 464,
  listxattrat: 465,
  removexattrat: 466,
  open_tree_attr: 467,
  file_getattr: 468,
  file_setattr: 469,
};

/** The number of a call that is newer than the oldest libseccomp in use. */
export function newSyscallNumber(name: string, isX64: boolean): number | undefined {
  if (name === "uretprobe") return isX64 ? 335 : undefined;
  return Object.hasOwn(unified, name) ? unified[name] : undefined;
}

/** BPF opcodes (linux/bpf_common.h): load a word, return, and jumps against a constant. */
const op = { load: 0x20, ret: 0x06, jump: 0x05, equal: 0x15, greater: 0x25, greaterOrEqual: 0x35 } as const;
/** Offsets in struct seccomp_data. */
const numberOffset = 0;
const architectureOffset = 4;
const errnoEnosys = 0x0005_0026;
const x32Bit = 0x4000_0000;

type Code = readonly [opcode: number, whenTrue: number, whenFalse: number, constant: number];

/**
 * Classic BPF that goes before libseccomp's filter and falls through into it. Calls newer than anything in the profile get
 * ENOSYS, as from a kernel that lacks them: libc probes new calls and falls back on ENOSYS, but takes EPERM for an answer
 * (that broke every container when faccessat2 came). Empty when there is nothing to decide.
 */
export function seccompStub(stubs: readonly StubArchitecture[], enosysForNewer: boolean): Buffer {
  const blocks = stubs.map((stub) => block(stub, enosysForNewer && stub.newest >= 0));
  if (blocks.every((code) => code.length === 0)) return Buffer.alloc(0);
  const body: Code[] = [];
  stubs.forEach((stub, index) => {
    const code = blocks[index] ?? [];
    // A load of the number replaced the architecture, but only in a block that was entered and that ends with a jump.
    if (code.length > 0) body.push([op.equal, 0, code.length + 1, stub.audit], ...code, [op.jump, 0, 0, 0]);
  });
  const whole: readonly Code[] = [[op.load, 0, 0, architectureOffset], ...body];
  return encode(whole.map((code, index) => (code[0] === op.jump ? toEnd(whole.length - index - 1) : code)));
}

function block(stub: StubArchitecture, enosysForNewer: boolean): readonly Code[] {
  if (stub.direct.length === 0 && !enosysForNewer) return [];
  const code: Code[] = [[op.load, 0, 0, numberOffset]];
  const rest: Code[] = stub.direct.flatMap(({ number, action }): Code[] => [
    [op.equal, 0, 1, number],
    [op.ret, 0, 0, action],
  ]);
  if (enosysForNewer) rest.push([op.greater, 0, 1, stub.newest], [op.ret, 0, 0, errnoEnosys]);
  // x32 skips the block's end as well, to the jump that follows it.
  if (stub.hasX32) code.push([op.greaterOrEqual, rest.length, 0, x32Bit]);
  return [...code, ...rest];
}

function toEnd(distance: number): Code {
  return [op.jump, 0, 0, distance];
}

/** struct sock_filter. */
function encode(code: readonly Code[]): Buffer {
  const bytes = Buffer.alloc(code.length * 8);
  code.forEach(([opcode, whenTrue, whenFalse, constant], index) => {
    bytes.writeUInt16LE(opcode, index * 8);
    bytes.writeUInt8(whenTrue, index * 8 + 2);
    bytes.writeUInt8(whenFalse, index * 8 + 3);
    bytes.writeUInt32LE(constant >>> 0, index * 8 + 4);
  });
  return bytes;
}
