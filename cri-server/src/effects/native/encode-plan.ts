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
import { PayloadWriter } from "./frames.ts";
import { BindFlag, Choice, MountAttribute, PlanMagic, Propagation, RootOp } from "./ops.gen.ts";

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

function namespaces(to: PayloadWriter, plan: NamespacePlan): void {
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

function cgroupStart(to: PayloadWriter, plan: Pick<CgroupPlan, "version" | "join">): void {
  to.u8(plan.version);
  to.texts(plan.join);
}

/** As plan_take_cgroup of native/child/plan.c reads it; also a part of a pod's spec. */
export function encodeCgroup(to: PayloadWriter, plan: CgroupPlan): void {
  cgroupStart(to, plan);
  to.texts(plan.mkdirs);
  to.list(plan.writes, ({ path, value, optional }) => {
    to.text(path);
    to.text(value);
    to.flag(optional);
  });
}

function rootfs(to: PayloadWriter, plan: RootfsPlan): void {
  to.texts(plan.lower);
  to.text(plan.upper);
  to.text(plan.work);
  to.flag(plan.volatile);
  to.flag(plan.readonly);
  to.u32(propagation(plan.propagation));
}

/** The files of /proc that one may mount over, as lxcfs does; anything else could hide or redirect what writes there. */
const coverable: ReadonlySet<string> = new Set(
  [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
  ].map((name) => `/proc/${name}`),
);

function bind(to: PayloadWriter, op: Extract<Operation, { op: "bind" }>): void {
  to.u8(
    (op.recursive ? BindFlag.RECURSIVE : 0) |
      (op.recursiveReadOnly ? BindFlag.RECURSIVE_READONLY : 0) |
      (op.requireShared ? BindFlag.REQUIRE_SHARED : 0) |
      (op.requireSlave ? BindFlag.REQUIRE_SLAVE : 0) |
      (op.idmap ? BindFlag.IDMAP : 0) |
      (op.create ? BindFlag.CREATE : 0) |
      (coverable.has(op.target) ? BindFlag.OVER_PROC : 0) |
      (op.layers === undefined ? 0 : BindFlag.LAYERS),
  );
  to.u8(attributes(op.attributes));
  to.u32(propagation(op.propagation));
  to.text(op.source);
  to.texts(op.layers ?? []);
}

function operation(to: PayloadWriter, op: Operation): void {
  const start = (kind: number): void => {
    to.u8(kind);
    to.text(op.target);
  };
  switch (op.op) {
    case "fs":
      start(RootOp.FS);
      to.text(op.type);
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

function capabilities(to: PayloadWriter, plan: CapabilityPlan): void {
  for (const set of [plan.bounding, plan.effective, plan.permitted, plan.inheritable, plan.ambient])
    to.u64(set);
}

function processPart(to: PayloadWriter, plan: ProcessPlan): void {
  to.texts(plan.args);
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
  to.bytes(plan.seccomp);
  to.text(plan.apparmor);
  to.text(plan.selinux);
  to.list(plan.rlimits, ({ resource, soft, hard }) => {
    to.u32(resource);
    to.u64(soft);
    to.u64(hard);
  });
}

/** The payload of a create request, read by native/child/plan.c. Throws RangeError on what can't be encoded. */
export function encodeLaunchPlan(plan: LaunchPlan): Buffer {
  const to = new PayloadWriter();
  to.u32(PlanMagic.LAUNCH).text(plan.containerId);
  to.flag(plan.io.stdin).flag(plan.io.stdinOnce).u32(plan.io.maxLogLine);
  to.text(plan.io.logPath).text(plan.exitFile).text(plan.cgroup.oomFile);
  namespaces(to, plan.namespaces);
  encodeCgroup(to, plan.cgroup);
  rootfs(to, plan.rootfs);
  to.list(plan.ops, (op) => operation(to, op));
  processPart(to, plan.process);
  return to.finish();
}

/** The payload of an exec request. Throws RangeError on what can't be encoded. */
export function encodeExecPlan(plan: ExecPlan): Buffer {
  const to = new PayloadWriter();
  to.u32(PlanMagic.EXEC).text(plan.containerId);
  cgroupStart(to, plan.cgroup);
  processPart(to, plan.process);
  return to.finish();
}
