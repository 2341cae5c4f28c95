import type { CgroupPlan } from "../model/plan.ts";
import type { Resources } from "../model/resources.ts";

export interface DeviceRule {
  readonly allow: boolean;
  readonly type: "a" | "c" | "b";
  /** undefined: any. */
  readonly major: number | undefined;
  readonly minor: number | undefined;
  /** Any of r, w, m. */
  readonly access: string;
}

export interface CgroupRequest {
  /** Path below each hierarchy's root, e.g. /kubepods/burstable/pod<uid>/<container id>. */
  readonly path: string;
  readonly resources: Resources;
  /** In order; the last match wins on v1's own terms (deny all first). */
  readonly devices: readonly DeviceRule[];
}

export interface CgroupUsage {
  /** Nanoseconds since the epoch. */
  readonly timestamp: bigint;
  /** Nanoseconds. */
  readonly cpuTotal: bigint;
  readonly memoryUsage: bigint;
  readonly memoryWorkingSet: bigint;
  readonly memoryRss: bigint;
  /** Bytes; undefined when unlimited. */
  readonly memoryLimit: bigint | undefined;
  readonly pageFaults: bigint;
  readonly majorPageFaults: bigint;
  readonly swapUsage: bigint;
  readonly swapLimit: bigint | undefined;
  readonly processes: bigint;
  readonly psi: {
    readonly cpu: Psi | undefined;
    readonly memory: Psi | undefined;
    readonly io: Psi | undefined;
  };
}

/** What one block device did for a group. */
export interface BlockIo {
  /** "major:minor". */
  readonly device: string;
  readonly readBytes: bigint;
  readonly writtenBytes: bigint;
  readonly reads: bigint;
  readonly writes: bigint;
}

/** What only metrics need, beside the usage. Missing controllers count nothing. */
export interface CgroupDetails extends CgroupUsage {
  /** Nanoseconds. */
  readonly cpuUser: bigint;
  readonly cpuSystem: bigint;
  readonly periods: bigint;
  readonly throttledPeriods: bigint;
  /** Nanoseconds. */
  readonly throttledTime: bigint;
  readonly memoryCache: bigint;
  readonly memoryMappedFile: bigint;
  readonly memoryKernel: bigint;
  readonly memoryMaxUsage: bigint;
  /** How often the limit was hit. */
  readonly memoryFailures: bigint;
  readonly oomKills: bigint;
  /** undefined: unlimited. */
  readonly threadsLimit: bigint | undefined;
  readonly blockIo: readonly BlockIo[];
  readonly hugepages: readonly {
    readonly pageSize: string;
    readonly usage: bigint;
    readonly maxUsage: bigint;
  }[];
  /** In the server's PID namespace. */
  readonly pids: readonly number[];
}

/** One limit: what was asked for, and what the kernel has. */
export interface LimitInForce {
  readonly file: string;
  readonly wanted: string;
  /** undefined: there is no such file (any more). */
  readonly inForce: string | undefined;
  readonly differs: boolean;
}

export interface PsiLine {
  readonly total: bigint;
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}
export interface Psi {
  readonly some: PsiLine;
  readonly full: PsiLine;
}

/**
 * The cgroup file systems as a container gets them. v1: one bind per hierarchy of the container's own group, plus the
 * usual links from each controller to a hierarchy that has several (`cpu` -> `cpu,cpuacct`).
 */
export type CgroupView =
  | { readonly version: 2; readonly mountpoint: string }
  | {
      readonly version: 1;
      readonly hierarchies: readonly { readonly name: string; readonly source: string }[];
      readonly links: readonly { readonly name: string; readonly to: string }[];
    };

/** A group that is named for a container or sandbox. */
export interface IdGroup {
  readonly path: string;
  readonly id: string;
}

/** cgroup v1 or v2, found at start. Values are computed here (pure where possible) and written by whoever runs the plan. */
export interface Cgroups {
  readonly version: 1 | 2;
  readonly driver: "cgroupfs" | "systemd";
  /**
   * The group of a pod's containers, as a path below the hierarchy root: CRI's cgroup_parent ("" gives the configured
   * default) itself, or under systemd the pod's own scope in the slice that it names. Rejects what names no group.
   */
  resolveParent(cgroupParent: string, sandboxId: string): string;
  /** Makes the parent (and its parents) if missing, enabling v2 controllers on the way. Resolves with the directories that were made. */
  ensureParent(path: string): Promise<readonly string[]>;
  /**
   * Told of the pod's first process, its monitor, when that runs, and before a container is planned. Under systemd this makes the
   * scope, which lives as long as a process is in it; otherwise nothing happens.
   */
  enclose(path: string, pid: number): Promise<void>;
  plan(request: CgroupRequest): Promise<CgroupPlan>;
  /** Where a further process of this group is put (ExecPlan.cgroup). From memory. */
  joining(path: string): Pick<CgroupPlan, "version" | "join">;
  /** What a container in this group sees below /sys/fs/cgroup. From memory. */
  view(path: string): CgroupView;
  /** Patch semantics, safe write order, all or nothing: on failure the old values are written back. */
  update(path: string, before: Resources, patch: Resources): Promise<Resources>;
  /** File by file, what these resources ask for and what the kernel has. */
  limits(path: string, resources: Resources): readonly LimitInForce[];
  /** The group's directories in (and below) which the process is not. Empty: it is where it belongs. */
  groupsWithout(path: string, pid: number): Promise<readonly string[]>;
  /** Groups named for some id, directly below these parents and the default one. */
  groupsOfIds(parents: readonly string[]): Promise<readonly IdGroup[]>;
  usage(path: string): Promise<CgroupUsage>;
  /** The usage and what metrics need beside it. */
  details(path: string): Promise<CgroupDetails>;
  /** Kills everything inside (v2 cgroup.kill; v1 freeze, signal, thaw). */
  killAll(path: string): Promise<void>;
  /** Removes the group and its children, retrying EBUSY for about a second. Missing is success. Never touches the parent. */
  remove(path: string): Promise<void>;
  /** Removes a parent made by ensureParent, if nothing else uses it. */
  removeParent(made: readonly string[]): Promise<void>;
}
