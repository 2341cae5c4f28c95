/**
 * The plan: everything that native code needs to make one process, computed by the domain, frozen, and executed as it
 * stands. Native code resolves nothing and decides nothing; it applies these operations in this order. A plan has no
 * effects, so tests compare plans without root. effects/native/encode-plan.ts turns one into a binary message.
 */

/** MOUNT_ATTR_* bits of mount_setattr(2). */
export type MountAttributes = {
  readonly readonly?: boolean;
  readonly nosuid?: boolean;
  readonly nodev?: boolean;
  readonly noexec?: boolean;
};

export type Propagation = "private" | "rslave" | "rshared";

/** The rootfs: an overlay of read-only layer directories and one writable upper. */
export interface RootfsPlan {
  /** Host directories, HIGHEST first (overlay's own order). At least one. */
  readonly lower: readonly string[];
  /** Host directories on one file system; both exist before the plan runs. */
  readonly upper: string;
  readonly work: string;
  /** Overlay's `volatile`: no sync at teardown. The upper is wiped at boot, so nothing is lost. */
  readonly volatile: boolean;
  readonly readonly: boolean;
  readonly propagation: Propagation;
}

/** One operation of the child in its new mount namespace. Every `target` but a hook's is resolved inside the rootfs by openat2. */
export type RootOp =
  | {
      /** A new file system instance by the mount API. */
      readonly op: "fs";
      readonly type: "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "cgroup2";
      readonly target: string;
      readonly attributes: MountAttributes;
      /** fsconfig strings (or flags when the value is missing), e.g. ["mode", "0755"]. */
      readonly options: readonly (readonly [string, string?])[];
    }
  | {
      readonly op: "bind";
      /** Absolute host path; symlinks are followed on the host. Ignored with overlaySource. */
      readonly source: string;
      readonly target: string;
      readonly recursive: boolean;
      readonly attributes: MountAttributes;
      /** Apply `attributes.readonly` to the whole tree (mount_setattr AT_RECURSIVE); fail if the kernel can't. */
      readonly recursiveReadOnly: boolean;
      readonly propagation: Propagation;
      /** The source's peer group has to be shared (CRI BIDIRECTIONAL), or the plan fails. */
      readonly requireShared: boolean;
      /** The source has to be in a shared or slave peer group (CRI HOST_TO_CONTAINER), or the plan fails. */
      readonly requireSlave: boolean;
      /** Idmap the mount with the container's user namespace (only in plans with userns). */
      readonly idmap: boolean;
      /** Create the mount point when absent, of the source's own kind. Always inside the rootfs. */
      readonly create: boolean;
      /**
       * An image volume: the source is a read-only overlay of these layer directories (HIGHEST first), `source` then
       * being a sub path inside it, resolved in that root ("" is the root itself).
       */
      readonly layers?: readonly string[];
    }
  | {
      readonly op: "device";
      readonly target: string;
      readonly type: "c" | "b" | "p";
      readonly major: number;
      readonly minor: number;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | { readonly op: "symlink"; readonly target: string; readonly to: string }
  | { readonly op: "mkdir"; readonly target: string; readonly mode: number }
  /** Covers a file with /dev/null and a directory with an empty read-only tmpfs; an absent path is skipped. */
  | { readonly op: "mask"; readonly target: string }
  /** Makes a path read-only in place, recursively; an absent path is skipped. */
  | { readonly op: "readonly"; readonly target: string }
  | {
      /** Runs a program of the host, in the container's namespaces and before its root is entered, until it has ended. */
      readonly op: "hook";
      /** The program; absolute, on the host. */
      readonly target: string;
      readonly args: readonly string[];
      readonly env: readonly string[];
      /** What it reads: a JSON object (OCI runtime-spec, "State") without `pid`, which the child puts in. */
      readonly state: string;
      /** An empty host directory; the root is there, in the container's mount namespace, from the first hook on. */
      readonly mountPoint: string;
      /** 1 to 3600. */
      readonly timeoutSeconds: number;
    };

/** Join an existing namespace, make a new one, or stay in the monitor's (the host's). */
export type NamespaceChoice = "new" | "pod" | "host" | { readonly joinPid: number };

export interface NamespacePlan {
  /** "pod": the monitor's pinned set. */
  readonly network: "pod" | "host";
  readonly ipc: "pod" | "host";
  readonly uts: "pod" | "host";
  /** "pod": the pod's shared PID namespace, whose init the monitor has started. joinPid: another container's (TARGET). */
  readonly pid: NamespaceChoice;
  readonly cgroup: "new" | "host";
  /** "pod": the pod's user namespace. */
  readonly user: "pod" | "host";
  /** Offsets of a new time namespace; missing: the host's. */
  readonly time?: { readonly monotonicSeconds: bigint; readonly boottimeSeconds: bigint };
}

export interface CapabilityPlan {
  /** Bit n is capability n. */
  readonly bounding: bigint;
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
  readonly ambient: bigint;
}

export interface ResourceLimit {
  /** RLIMIT_* number of this architecture. */
  readonly resource: number;
  readonly soft: bigint;
  readonly hard: bigint;
}

/** The process itself; the same shape serves init and exec. */
export interface ProcessPlan {
  readonly args: readonly string[];
  /** KEY=value, latin1 (one char a byte). */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly capabilities: CapabilityPlan;
  readonly noNewPrivileges: boolean;
  /** struct sock_filter[] as bytes; empty: none. */
  readonly seccomp: Uint8Array;
  /** AppArmor profile for the exec attribute; "" none. */
  readonly apparmor: string;
  /** SELinux label for the exec attribute; "" none. */
  readonly selinux: string;
  readonly rlimits: readonly ResourceLimit[];
  readonly oomScoreAdj: number | undefined;
  readonly tty: boolean;
}

/** Where the process is put. All paths are absolute host paths, made by effects/kernel/cgroup. */
export interface CgroupPlan {
  /** v2: clone3 into join[0]. v1: the child writes "0" to each join/tasks, which takes no global lock. */
  readonly version: 1 | 2;
  /** Made in order, parents first, before anything else; one that exists already is fine. */
  readonly mkdirs: readonly string[];
  /** Written in order after the mkdirs and before the process exists. */
  readonly writes: readonly { readonly path: string; readonly value: string; readonly optional: boolean }[];
  readonly join: readonly string[];
  /** Where OOM kills are counted: v2 memory.events (key oom_kill), v1 memory.oom_control (key oom_kill). "" unknown. */
  readonly oomFile: string;
  /** v2 only: the fd (in the server) of a loaded BPF_PROG_TYPE_CGROUP_DEVICE program to attach to join[0]. */
  readonly deviceProgramFd: number | undefined;
}

export interface IoPlan {
  /** Keep a stdin pipe open; otherwise /dev/null. */
  readonly stdin: boolean;
  /** Close the container's stdin when the first attached session's stdin ends. */
  readonly stdinOnce: boolean;
  /** Absolute; "" writes no log. */
  readonly logPath: string;
  /** Bytes of one CRI log line's content before a partial one is written. */
  readonly maxLogLine: number;
}

export interface LaunchPlan {
  readonly containerId: string;
  readonly namespaces: NamespacePlan;
  readonly cgroup: CgroupPlan;
  readonly rootfs: RootfsPlan;
  readonly ops: readonly RootOp[];
  readonly process: ProcessPlan;
  readonly io: IoPlan;
  /** File that the monitor writes the exit record to, durably, before it tells anyone. */
  readonly exitFile: string;
}

/** A further process in a running container. */
export interface ExecPlan {
  readonly containerId: string;
  /** v2: cloned into join[0]; v1: self-written tasks. */
  readonly cgroup: Pick<CgroupPlan, "version" | "join">;
  readonly process: ProcessPlan;
}
