import type {
  CapabilityPlan,
  CgroupPlan,
  ExecPlan,
  LaunchPlan,
  MountAttributes,
  NamespaceChoice,
  NamespacePlan,
  RootOp as Operation,
  ProcessPlan,
  Propagation as PropagationName,
  RootfsPlan,
} from "../../model/plan.ts";
import {
  BindFlag,
  Choice,
  FsType,
  Limit,
  MountAttribute,
  PlanFlag,
  PlanMagic,
  Propagation,
  RootOp,
} from "./ops.gen.ts";

/**
 * Two readers take the message apart: the monitor its header (native/common/plan_header.h), the new process the rest
 * (native/child/plan.h). Both check all of it again; what is refused here is what a caller could get wrong.
 */
class PlanWriter {
  readonly #parts: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  bytes(value: Uint8Array): void {
    this.#parts.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    this.#length += value.byteLength;
  }

  u8(value: number): void {
    this.bytes(Uint8Array.of(value));
  }

  flag(value: boolean): void {
    this.u8(value ? 1 : 0);
  }

  u32(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
      throw new RangeError(`${value} is not an unsigned 32-bit number`);
    }
    const part = Buffer.allocUnsafe(4);
    part.writeUInt32LE(value);
    this.bytes(part);
  }

  i32(value: number): void {
    const part = Buffer.allocUnsafe(4);
    part.writeInt32LE(value);
    this.bytes(part);
  }

  u64(value: bigint): void {
    const part = Buffer.allocUnsafe(8);
    part.writeBigUInt64LE(value);
    this.bytes(part);
  }

  i64(value: bigint): void {
    const part = Buffer.allocUnsafe(8);
    part.writeBigInt64LE(value);
    this.bytes(part);
  }

  /** The monitor's form of a text: it copies, so no NUL follows. */
  counted(value: string): void {
    const part = Buffer.from(value, "utf8");
    this.u32(part.length);
    this.bytes(part);
  }

  /** The child's form: used in place, so a NUL follows and none may be inside. */
  text(value: string, encoding: "utf8" | "latin1" = "utf8"): void {
    if (value.includes("\0")) throw new RangeError(`${JSON.stringify(value)} has a NUL character in it`);
    const part = Buffer.from(`${value}\0`, encoding);
    this.u32(part.length - 1);
    this.bytes(part);
  }

  list<T>(values: readonly T[], each: (value: T) => void): void {
    this.u32(values.length);
    for (const value of values) each(value);
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts, this.#length);
  }
}

interface HeaderFields {
  readonly flags: number;
  readonly maxLogLine: number;
  readonly containerId: string;
  readonly logPath: string;
  readonly exitFile: string;
  readonly oomFile: string;
  readonly groups: readonly string[];
}

function header(to: PlanWriter, fields: HeaderFields): void {
  const body = new PlanWriter();
  body.u32(fields.flags);
  body.u32(fields.maxLogLine);
  body.counted(fields.containerId);
  body.counted(fields.logPath);
  body.counted(fields.exitFile);
  body.counted(fields.oomFile);
  body.list(fields.groups, (group) => body.counted(group));
  to.u32(Limit.PLAN_VERSION);
  to.u32(8 + body.length);
  to.bytes(body.finish());
}

function choice(value: NamespaceChoice): number {
  switch (value) {
    case "host":
      return Choice.HOST;
    case "pod":
      return Choice.POD;
    case "new":
      return Choice.NEW;
    default:
      return Choice.JOIN;
  }
}

function propagation(value: PropagationName): number {
  switch (value) {
    case "private":
      return Propagation.PRIVATE;
    case "rslave":
      return Propagation.RSLAVE;
    case "rshared":
      return Propagation.RSHARED;
  }
}

function attributes(value: MountAttributes): number {
  return (
    (value.readonly ? MountAttribute.READONLY : 0) |
    (value.nosuid ? MountAttribute.NOSUID : 0) |
    (value.nodev ? MountAttribute.NODEV : 0) |
    (value.noexec ? MountAttribute.NOEXEC : 0)
  );
}

const fsTypes = {
  proc: FsType.PROC,
  sysfs: FsType.SYSFS,
  tmpfs: FsType.TMPFS,
  devpts: FsType.DEVPTS,
  mqueue: FsType.MQUEUE,
  cgroup2: FsType.CGROUP2,
} as const;

function namespaces(to: PlanWriter, plan: NamespacePlan): void {
  to.u8(choice(plan.network));
  to.u8(choice(plan.ipc));
  to.u8(choice(plan.uts));
  to.u8(choice(plan.pid));
  to.i32(typeof plan.pid === "object" ? plan.pid.joinPid : 0);
  to.u8(choice(plan.cgroup));
  to.u8(choice(plan.user));
  to.u8(plan.time === undefined ? Choice.HOST : Choice.NEW);
  to.i64(plan.time?.monotonicSeconds ?? 0n);
  to.i64(plan.time?.boottimeSeconds ?? 0n);
}

function cgroupStart(to: PlanWriter, plan: Pick<CgroupPlan, "version" | "join">): void {
  to.u8(plan.version);
  to.list(plan.join, (directory) => to.text(directory));
}

function cgroup(to: PlanWriter, plan: CgroupPlan): void {
  cgroupStart(to, plan);
  to.list(plan.mkdirs, (directory) => to.text(directory));
  to.list(plan.writes, ({ path, value, optional }) => {
    to.text(path);
    to.text(value);
    to.flag(optional);
  });
}

function rootfs(to: PlanWriter, plan: RootfsPlan): void {
  to.list(plan.lower, (directory) => to.text(directory));
  to.text(plan.upper);
  to.text(plan.work);
  to.flag(plan.volatile);
  to.flag(plan.readonly);
  to.u8(propagation(plan.propagation));
}

function bind(to: PlanWriter, op: Extract<Operation, { op: "bind" }>): void {
  to.u8(
    (op.recursive ? BindFlag.RECURSIVE : 0) |
      (op.recursiveReadOnly ? BindFlag.RECURSIVE_READONLY : 0) |
      (op.requireShared ? BindFlag.REQUIRE_SHARED : 0) |
      (op.requireSlave ? BindFlag.REQUIRE_SLAVE : 0) |
      (op.idmap ? BindFlag.IDMAP : 0) |
      (op.create ? BindFlag.CREATE : 0) |
      (op.layers === undefined ? 0 : BindFlag.LAYERS),
  );
  to.u8(attributes(op.attributes));
  to.u8(propagation(op.propagation));
  to.text(op.source);
  to.list(op.layers ?? [], (directory) => to.text(directory));
}

function operation(to: PlanWriter, op: Operation): void {
  const start = (kind: number): void => {
    to.u8(kind);
    to.text(op.target);
  };
  switch (op.op) {
    case "fs":
      start(RootOp.FS);
      to.u8(fsTypes[op.type]);
      to.u8(attributes(op.attributes));
      to.list(op.options, ([key, value]) => {
        to.text(key);
        to.flag(value !== undefined);
        if (value !== undefined) to.text(value);
      });
      return;
    case "bind":
      start(RootOp.BIND);
      bind(to, op);
      return;
    case "device":
      start(RootOp.DEVICE);
      to.u8(op.type.charCodeAt(0));
      for (const value of [op.major, op.minor, op.mode, op.uid, op.gid]) to.u32(value);
      return;
    case "symlink":
      start(RootOp.SYMLINK);
      to.text(op.to);
      return;
    case "mkdir":
      start(RootOp.MKDIR);
      to.u32(op.mode);
      return;
    case "mask":
      start(RootOp.MASK);
      return;
    case "readonly":
      start(RootOp.READONLY);
      return;
    case "hook":
      start(RootOp.HOOK);
      to.list(op.args, (arg) => to.text(arg));
      to.list(op.env, (entry) => to.text(entry));
      to.text(op.state);
      to.text(op.mountPoint);
      to.u32(op.timeoutSeconds);
      return;
  }
}

function capabilities(to: PlanWriter, plan: CapabilityPlan): void {
  for (const set of [plan.bounding, plan.effective, plan.permitted, plan.inheritable, plan.ambient])
    to.u64(set);
}

function processPart(to: PlanWriter, plan: ProcessPlan): void {
  to.list(plan.args, (arg) => to.text(arg));
  to.list(plan.env, (entry) => to.text(entry, "latin1"));
  to.text(plan.cwd);
  to.u32(plan.uid);
  to.u32(plan.gid);
  to.list(plan.groups, (group) => to.u32(group));
  to.u32(plan.umask);
  capabilities(to, plan.capabilities);
  to.flag(plan.noNewPrivileges);
  to.flag(plan.tty);
  to.flag(plan.oomScoreAdj !== undefined);
  to.i32(plan.oomScoreAdj ?? 0);
  to.u32(plan.seccomp.byteLength);
  to.bytes(plan.seccomp);
  to.text(plan.apparmor);
  to.text(plan.selinux);
  to.list(plan.rlimits, ({ resource, soft, hard }) => {
    to.u32(resource);
    to.u64(soft);
    to.u64(hard);
  });
}

/** The payload of a create request: the monitor's header, then the child's part. Throws RangeError on what can't be encoded. */
export function encodeLaunchPlan(plan: LaunchPlan): Buffer {
  const to = new PlanWriter();
  header(to, {
    flags:
      (plan.io.stdin ? PlanFlag.STDIN : 0) |
      (plan.io.stdinOnce ? PlanFlag.STDIN_ONCE : 0) |
      (plan.process.tty ? PlanFlag.TTY : 0) |
      (plan.cgroup.version === 2 ? PlanFlag.CGROUP_V2 : 0),
    maxLogLine: plan.io.maxLogLine,
    containerId: plan.containerId,
    logPath: plan.io.logPath,
    exitFile: plan.exitFile,
    oomFile: plan.cgroup.oomFile,
    groups: plan.cgroup.join,
  });
  to.u32(PlanMagic.LAUNCH);
  to.text(plan.containerId);
  namespaces(to, plan.namespaces);
  cgroup(to, plan.cgroup);
  rootfs(to, plan.rootfs);
  to.list(plan.ops, (op) => operation(to, op));
  to.flag(plan.io.stdin);
  processPart(to, plan.process);
  return to.finish();
}

/** The payload of an exec request. Throws RangeError on what can't be encoded. */
export function encodeExecPlan(plan: ExecPlan): Buffer {
  const to = new PlanWriter();
  header(to, {
    flags: (plan.process.tty ? PlanFlag.TTY : 0) | (plan.cgroup.version === 2 ? PlanFlag.CGROUP_V2 : 0),
    maxLogLine: 0,
    containerId: plan.containerId,
    logPath: "",
    exitFile: "",
    oomFile: "",
    groups: plan.cgroup.join,
  });
  to.u32(PlanMagic.EXEC);
  to.text(plan.containerId);
  cgroupStart(to, plan.cgroup);
  processPart(to, plan.process);
  return to.finish();
}
