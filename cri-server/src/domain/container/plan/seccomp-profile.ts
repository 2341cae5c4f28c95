import { BerthError } from "../../../errors/berth-error.ts";
import type { ArgumentTest, SeccompAction, SeccompProgram, SeccompRule } from "../../../ports/seccomp.ts";

/** When an entry of a profile counts: all of `includes`, none of `excludes` (Docker's extension of the OCI format). */
export interface Condition {
  readonly capabilities: readonly string[];
  /** GOARCH names. */
  readonly arches: readonly string[];
  readonly minKernel: KernelVersion | undefined;
}

export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
}

export interface ProfileEntry extends SeccompRule {
  readonly includes: Condition;
  readonly excludes: Condition;
}

/** A profile as its file has it. */
export interface SeccompProfile {
  readonly defaultAction: SeccompAction;
  /** SCMP_ARCH_* of the file, or undefined for what archMap gives. */
  readonly architectures: readonly string[];
  readonly entries: readonly ProfileEntry[];
}

export interface ProfileTarget {
  /** The container's bounding set, with CAP_. */
  readonly capabilities: ReadonlySet<string>;
  readonly arch: "x64" | "arm64";
  readonly kernel: KernelVersion;
}

/** No condition. */
export const always: Condition = { capabilities: [], arches: [], minKernel: undefined };

/** Reads a profile in Docker's or OCI's JSON format; `where` names it in errors. Nothing unknown is passed over. */
export function parseSeccompProfile(text: string, where: string): SeccompProfile {
  const fail = (what: string): never => {
    throw new BerthError("invalid-argument", `seccomp profile ${where}: ${what}`);
  };
  const root = record(parseJson(text, fail), "the profile", fail);
  const errno = optionalNumber(root.defaultErrnoRet, "defaultErrnoRet", fail);
  if (root.listenerPath !== undefined && root.listenerPath !== "") fail("listenerPath is not supported");
  return {
    defaultAction: action(root.defaultAction, errno, "defaultAction", fail),
    architectures: architectures(root, fail),
    entries: list(root.syscalls, "syscalls", fail).map((entry, index) =>
      profileEntry(record(entry, `syscalls[${index}]`, fail), `syscalls[${index}]`, fail),
    ),
  };
}

/** The rules that count for one container on this machine. */
export function resolveSeccompProfile(profile: SeccompProfile, target: ProfileTarget): SeccompProgram {
  const rules = profile.entries
    .filter((entry) => applies(entry, target))
    // A rule that does what happens anyway is an error to libseccomp.
    .filter((entry) => !sameAction(entry.action, profile.defaultAction))
    .flatMap(({ names, action: act, args }) => split({ names, action: act, args }));
  return {
    defaultAction: profile.defaultAction,
    subArchitectures: subArchitectures(profile.architectures, target.arch),
    rules,
  };
}

type Fail = (what: string) => never;

function parseJson(text: string, fail: Fail): unknown {
  // Arguments are 64 bits wide; a JSON number would be rounded above 2^53, so its digits are kept.
  const keepDigits = (key: string, value: unknown, context: { source?: string }): unknown =>
    (key === "value" || key === "valueTwo") && typeof value === "number" ? (context.source ?? value) : value;
  try {
    return JSON.parse(text, keepDigits as (key: string, value: unknown) => unknown);
  } catch (error) {
    return fail(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const plainActions: Readonly<Record<string, SeccompAction>> = {
  SCMP_ACT_ALLOW: { kind: "allow" },
  SCMP_ACT_LOG: { kind: "log" },
  SCMP_ACT_KILL: { kind: "kill-thread" },
  SCMP_ACT_KILL_THREAD: { kind: "kill-thread" },
  SCMP_ACT_KILL_PROCESS: { kind: "kill-process" },
  SCMP_ACT_TRAP: { kind: "trap" },
};

function action(name: unknown, errno: number | undefined, where: string, fail: Fail): SeccompAction {
  if (typeof name !== "string") return fail(`${where} is missing`);
  // EPERM, as the runtime-spec says.
  if (name === "SCMP_ACT_ERRNO") return { kind: "errno", value: errno ?? 1 };
  if (name === "SCMP_ACT_TRACE") return { kind: "trace", value: errno ?? 1 };
  const plain = Object.hasOwn(plainActions, name) ? plainActions[name] : undefined;
  return plain ?? fail(`${where}: ${JSON.stringify(name)} is not a supported action`);
}

function profileEntry(entry: Readonly<Record<string, unknown>>, where: string, fail: Fail): ProfileEntry {
  const names =
    entry.name === undefined || entry.name === ""
      ? strings(entry.names, `${where}.names`, fail)
      : strings([entry.name], `${where}.name`, fail);
  if (names.length === 0) return fail(`${where} names no system call`);
  const errno = optionalNumber(entry.errnoRet, `${where}.errnoRet`, fail);
  return {
    names,
    action: action(entry.action, errno, `${where}.action`, fail),
    args: list(entry.args, `${where}.args`, fail).map((arg, index) =>
      argument(record(arg, `${where}.args[${index}]`, fail), `${where}.args[${index}]`, fail),
    ),
    includes: condition(entry.includes, `${where}.includes`, fail),
    excludes: condition(entry.excludes, `${where}.excludes`, fail),
  };
}

const operators: readonly string[] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

function argument(arg: Readonly<Record<string, unknown>>, where: string, fail: Fail): ArgumentTest {
  const index = arg.index;
  if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index > 5) {
    return fail(`${where}.index is not 0 to 5`);
  }
  const op = typeof arg.op === "string" ? arg.op.replace(/^SCMP_CMP_/, "") : "";
  if (!operators.includes(op)) return fail(`${where}.op: ${JSON.stringify(arg.op)} is not an operator`);
  return {
    index,
    op: op as ArgumentTest["op"],
    value: word(arg.value, `${where}.value`, fail),
    valueTwo: word(arg.valueTwo, `${where}.valueTwo`, fail),
  };
}

function word(value: unknown, where: string, fail: Fail): bigint {
  if (value === undefined) return 0n;
  if (typeof value === "string" && /^[0-9]{1,20}$/.test(value)) {
    const number = BigInt(value);
    if (number < 1n << 64n) return number;
  }
  return fail(`${where}: ${JSON.stringify(value)} is not an unsigned 64-bit number`);
}

function condition(value: unknown, where: string, fail: Fail): Condition {
  if (value === undefined || value === null) return always;
  const fields = record(value, where, fail);
  return {
    capabilities: strings(fields.caps, `${where}.caps`, fail),
    arches: strings(fields.arches, `${where}.arches`, fail),
    minKernel: kernel(fields.minKernel, `${where}.minKernel`, fail),
  };
}

function kernel(value: unknown, where: string, fail: Fail): KernelVersion | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const match = typeof value === "string" ? /^([0-9]+)\.([0-9]+)/.exec(value) : null;
  if (!match) return fail(`${where}: ${JSON.stringify(value)} is not a kernel version`);
  return { major: Number(match[1]), minor: Number(match[2]) };
}

/** `architectures`, or every pair of `archMap`: subArchitectures() takes what belongs to this machine. */
function architectures(root: Readonly<Record<string, unknown>>, fail: Fail): readonly string[] {
  const direct = strings(root.architectures, "architectures", fail);
  const mapped = list(root.archMap, "archMap", fail).flatMap((entry, index) => {
    const fields = record(entry, `archMap[${index}]`, fail);
    return strings(fields.subArchitectures, `archMap[${index}].subArchitectures`, fail);
  });
  return [...direct, ...mapped];
}

const siblings: Readonly<Record<ProfileTarget["arch"], Readonly<Record<string, "x86" | "x32" | "arm">>>> = {
  x64: { SCMP_ARCH_X86: "x86", SCMP_ARCH_X32: "x32" },
  arm64: { SCMP_ARCH_ARM: "arm" },
};

function subArchitectures(
  architectureNames: readonly string[],
  arch: ProfileTarget["arch"],
): SeccompProgram["subArchitectures"] {
  const known = siblings[arch];
  const found = architectureNames.flatMap((name) => {
    const sibling = Object.hasOwn(known, name) ? known[name] : undefined;
    return sibling === undefined ? [] : [sibling];
  });
  return [...new Set(found)].toSorted();
}

function applies({ includes, excludes }: ProfileEntry, target: ProfileTarget): boolean {
  const goarch = target.arch === "x64" ? "amd64" : "arm64";
  const recent = (wanted: KernelVersion) =>
    target.kernel.major > wanted.major ||
    (target.kernel.major === wanted.major && target.kernel.minor >= wanted.minor);
  if (!includes.capabilities.every((name) => target.capabilities.has(name))) return false;
  if (includes.arches.length > 0 && !includes.arches.includes(goarch)) return false;
  if (includes.minKernel !== undefined && !recent(includes.minKernel)) return false;
  if (excludes.capabilities.some((name) => target.capabilities.has(name))) return false;
  if (excludes.arches.includes(goarch)) return false;
  return excludes.minKernel === undefined || !recent(excludes.minKernel);
}

function sameAction(a: SeccompAction, b: SeccompAction): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** libseccomp can't test one argument twice in a rule; runc made of such an entry one rule for each test, and profiles count on it. */
function split(rule: SeccompRule): readonly SeccompRule[] {
  const indexes = new Set(rule.args.map((arg) => arg.index));
  if (indexes.size === rule.args.length) return [rule];
  return rule.args.map((arg) => ({ ...rule, args: [arg] }));
}

function record(value: unknown, where: string, fail: Fail): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return fail(`${where} is not an object`);
  return value as Record<string, unknown>;
}

function list(value: unknown, where: string, fail: Fail): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : fail(`${where} is not a list`);
}

function strings(value: unknown, where: string, fail: Fail): readonly string[] {
  return list(value, where, fail).map((item) =>
    typeof item === "string" ? item : fail(`${where} has an entry that is not text`),
  );
}

function optionalNumber(value: unknown, where: string, fail: Fail): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff) return value;
  return fail(`${where}: ${JSON.stringify(value)} is not an error number`);
}
