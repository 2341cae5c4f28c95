import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type {
  ArgumentTest,
  CompiledFilter,
  SeccompAction,
  SeccompFilters,
  SeccompProgram,
} from "../../ports/seccomp.ts";
import { errnoOf } from "./cgroup-files.ts";
import { closeFd, memfd, readMemfd } from "./libc.ts";
import type { Libseccomp } from "./libseccomp.ts";
import { loadLibseccomp } from "./libseccomp.ts";
import type { StubArchitecture } from "./seccomp-stub.ts";
import { newSyscallNumber, seccompStub } from "./seccomp-stub.ts";

/** Part of every key: raised whenever the same program would be compiled to something else. */
const compilerVersion = "1";

/** AUDIT_ARCH_* (linux/audit.h). */
const architectures = {
  x64: 0xc000003e,
  x86: 0x40000003,
  x32: 0x4000003e,
  arm64: 0xc00000b7,
  arm: 0x40000028,
} as const;

/** enum scmp_filter_attr. */
const attribute = { badArchitecture: 2, optimize: 8 } as const;
const errnoEnosys = 0x0005_0026;
/** Filters have a few KiB; the kernel takes 4096 instructions at most. */
const maxFilterBytes = 4096 * 8;

/**
 * Filters compiled by libseccomp, kept in memory and in a folder under their program's hash. Rules are added in slices and
 * the filter is built on a pool thread, so that the event loop isn't held up.
 */
export class LibseccompFilters implements SeccompFilters {
  readonly #directory: string;
  readonly #known = new Map<string, Promise<CompiledFilter>>();
  #library: Libseccomp | undefined;

  /** `directory` is made when the first filter is written. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  compile(program: SeccompProgram): Promise<CompiledFilter> {
    return this.#once(keyOf(program), async (key) => {
      const stored = await this.#read(key);
      if (stored !== undefined) return stored;
      const filter = { key, bytes: await this.#build(program) };
      await this.#write(filter);
      return filter;
    });
  }

  load(key: string): Promise<CompiledFilter> {
    return this.#once(key, async () => {
      const stored = await this.#read(key);
      if (stored !== undefined) return stored;
      throw new BerthError(
        "internal",
        `seccomp filter ${key}: it is missing or damaged in ${this.#directory}`,
      );
    });
  }

  #once(key: string, make: (key: string) => Promise<CompiledFilter>): Promise<CompiledFilter> {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const made = make(key);
    this.#known.set(key, made);
    made.catch(() => this.#known.delete(key));
    return made;
  }

  /** The file is the filter after its own hash, so that a torn or edited one is never loaded. */
  async #read(key: string): Promise<CompiledFilter | undefined> {
    if (!/^[0-9a-f]{64}$/.test(key))
      throw new BerthError("internal", `seccomp filter ${JSON.stringify(key)}: not a key`);
    try {
      const file = await readFile(join(this.#directory, key));
      const bytes = new Uint8Array(file.subarray(32));
      const whole = bytes.length > 0 && bytes.length % 8 === 0 && digest(bytes).equals(file.subarray(0, 32));
      return whole ? { key, bytes } : undefined;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw new BerthError("internal", `seccomp filter ${key}: ${errnoOf(error)}`, { cause: error });
    }
  }

  async #write({ key, bytes }: CompiledFilter): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const path = join(this.#directory, key);
    await writeFile(`${path}.new`, Buffer.concat([digest(bytes), bytes]), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  async #build(program: SeccompProgram): Promise<Uint8Array> {
    this.#library ??= openLibrary();
    return buildFilter(this.#library, program);
  }
}

function openLibrary(): Libseccomp {
  try {
    return loadLibseccomp();
  } catch (error) {
    throw new BerthError("internal", "seccomp: libseccomp.so.2 can't be loaded; install libseccomp2", {
      cause: error,
    });
  }
}

async function buildFilter(library: Libseccomp, program: SeccompProgram): Promise<Uint8Array> {
  const native = process.arch === "arm64" ? architectures.arm64 : architectures.x64;
  const stubs: StubArchitecture[] = [
    { audit: native, hasX32: native === architectures.x64, newest: -1, direct: [] },
    ...program.subArchitectures.map((name) => ({
      audit: architectures[name],
      hasX32: false,
      newest: -1,
      direct: [],
    })),
  ];
  const context: unknown = library.init(actionNumber(program.defaultAction));
  if (context === null) throw new BerthError("internal", "seccomp: seccomp_init refused the default action");
  try {
    for (const name of program.subArchitectures) {
      // The native one is there already when a profile names it too.
      succeed(library.archAdd(context, architectures[name]), `architecture ${name}`);
    }
    succeed(
      library.attributeSet(context, attribute.badArchitecture, errnoEnosys),
      "attribute bad architecture",
    );
    // A tree instead of a chain: the kernel runs the filter once for each system call number when it is installed, and
    // a chain of 300 rules makes that a millisecond and more.
    succeed(library.attributeSet(context, attribute.optimize, 2), "attribute optimize");
    await addRules(library, context, program, stubs);
    const body = await exportFilter(library, context);
    return Buffer.concat([seccompStub(stubs, deniesByDefault(program)), body]);
  } finally {
    library.release(context);
  }
}

/** libseccomp's names are numbers of the native table, negative ones for calls that only other architectures have. */
const unknownName = -1;

async function addRules(
  library: Libseccomp,
  context: unknown,
  program: SeccompProgram,
  stubs: readonly StubArchitecture[],
): Promise<void> {
  const native = stubs[0];
  if (native === undefined) return;
  let turn = performance.now();
  for (const { names, action, args } of program.rules) {
    const number = actionNumber(action);
    const tests = args.map(argumentOf);
    for (const name of names) {
      for (const stub of stubs) noteNewest(stub, numberIn(library, stub, name));
      const resolved: number = library.resolve(native.audit, name);
      if (resolved === unknownName || isMultiplexer(name)) {
        if (args.length === 0) addDirect(library, stubs, name, number);
        continue;
      }
      addRule(library, context, { name, number, resolved, tests });
      if (performance.now() - turn < 1) continue;
      await new Promise(setImmediate);
      turn = performance.now();
    }
  }
}

interface RuleCall {
  readonly name: string;
  readonly number: number;
  readonly resolved: number;
  readonly tests: readonly object[];
}

function addRule(library: Libseccomp, context: unknown, { name, number, resolved, tests }: RuleCall): void {
  const result: number = library.ruleAdd(context, number, resolved, tests.length, tests);
  // EEXIST: the same rule twice in a profile.
  if (result !== 0 && result !== -17) succeed(result, `rule for ${name}`);
}

/**
 * socketcall and ipc carry many calls under one number, and libseccomp makes rules for each of those out of the rules for
 * `socket`, `semop` and so on. A rule for the number itself has to come first, so it goes into the stub.
 */
function isMultiplexer(name: string): boolean {
  return name === "socketcall" || name === "ipc";
}

/** A call that the installed library doesn't know (or can't treat): decided in the stub, by number. */
function addDirect(
  library: Libseccomp,
  stubs: readonly StubArchitecture[],
  name: string,
  action: number,
): void {
  for (const stub of stubs) {
    const number = numberIn(library, stub, name);
    if (number >= 0) stub.direct.push({ number, action });
  }
}

function numberIn(library: Libseccomp, stub: StubArchitecture, name: string): number {
  const number: number = library.resolve(stub.audit, name);
  return number === unknownName ? (newSyscallNumber(name, stub.audit === architectures.x64) ?? -1) : number;
}

function noteNewest(stub: StubArchitecture, number: number): void {
  if (number > stub.newest) stub.newest = number;
}

async function exportFilter(library: Libseccomp, context: unknown): Promise<Uint8Array> {
  const fd = memfd("berth-seccomp");
  try {
    const result = await new Promise<number>((resolve, reject) => {
      library.exportBpf.async(context, fd, (error: unknown, value: number) => {
        if (error) reject(error);
        else resolve(value);
      });
    });
    succeed(result, "export");
    return readMemfd(fd, maxFilterBytes);
  } finally {
    closeFd(fd);
  }
}

function succeed(result: number, what: string): void {
  if (result >= 0) return;
  throw new BerthError(
    "invalid-argument",
    `seccomp profile: ${what} was refused by libseccomp (error ${-result})`,
  );
}

/** SECCOMP_RET_* (linux/seccomp.h). */
function actionNumber(action: SeccompAction): number {
  switch (action.kind) {
    case "allow":
      return 0x7fff0000;
    case "log":
      return 0x7ffc0000;
    case "kill-thread":
      return 0;
    case "kill-process":
      return 0x80000000;
    case "trap":
      return 0x00030000;
    case "notify":
      return 0x7fc00000;
    case "errno":
      return 0x00050000 | action.value;
    case "trace":
      return 0x7ff00000 | action.value;
  }
}

/** enum scmp_compare. */
const comparisons = { NE: 1, LT: 2, LE: 3, EQ: 4, GE: 5, GT: 6, MASKED_EQ: 7 } as const;

function argumentOf({ index, op, value, valueTwo }: ArgumentTest): object {
  return { arg: index, op: comparisons[op], datum_a: value, datum_b: valueTwo };
}

/** Only a filter that refuses what it doesn't know can mislead a program that probes for new calls. */
function deniesByDefault({ defaultAction }: SeccompProgram): boolean {
  return defaultAction.kind !== "allow" && defaultAction.kind !== "log";
}

function keyOf(program: SeccompProgram): string {
  const text = JSON.stringify([compilerVersion, process.arch, program], (_, value: unknown) =>
    typeof value === "bigint" ? value.toString() : value,
  );
  return createHash("sha256").update(text).digest("hex");
}

function digest(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
