import type { InterfaceFacts } from "../model/explanation.ts";

/** The kinds of namespaces, as /proc/PID/ns names them. */
export const namespaceKinds = ["net", "ipc", "uts", "pid", "user", "mnt", "cgroup", "time"] as const;

export type NamespaceKind = (typeof namespaceKinds)[number];

/** Inode numbers; a kind that the kernel lacks is missing. */
export type NamespaceInodes = Readonly<Partial<Record<NamespaceKind, string>>>;

/** One process as the kernel has it now. */
export interface ProcessFacts {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTime: bigint;
  readonly command: string;
  /** R, S, D, Z, T … */
  readonly state: string;
  readonly residentBytes: number;
  readonly uid: number;
  readonly gid: number;
  readonly namespaces: NamespaceInodes;
  /** Bit n is capability n. */
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly ambient: bigint;
  readonly noNewPrivileges: boolean;
  /** As prctl(PR_GET_SECCOMP) has it: none, strict, filter; and how many filters there are. */
  readonly seccomp: "none" | "strict" | "filter";
  readonly seccompFilters: number;
  /** AppArmor profile or SELinux label; "" when neither is there. */
  readonly lsm: string;
}

/** One mount as a process sees it. */
export interface MountFacts {
  readonly target: string;
  readonly type: string;
  readonly source: string;
  readonly options: string;
  /** Of an overlay: its layers, highest first. */
  readonly lower: readonly string[];
  readonly upper: string;
}

/** Looks at the kernel, and changes nothing. */
export interface Inspection {
  /** undefined: there is no such process. */
  process(pid: number): Promise<ProcessFacts | undefined>;
  /** Of the server itself, i.e. the host's as far as it knows. */
  readonly ownNamespaces: NamespaceInodes;
  /** Namespaces that a process holds open or is in, without the server's own: what a monitor keeps for its pod. */
  heldNamespaces(pid: number): Promise<NamespaceInodes>;
  /** The inode of the namespace that is pinned at a path; undefined when none is. */
  pinned(path: string): Promise<string | undefined>;
  /** What a process sees mounted, in mount order. Empty when it is gone. */
  mounts(pid: number): Promise<readonly MountFacts[]>;
  /** Bytes; undefined when there is no such file. */
  fileSize(path: string): Promise<number | undefined>;
  /** Rejects when the namespace can't be entered. */
  network(netnsPath: string): Promise<{
    readonly interfaces: readonly InterfaceFacts[];
    readonly routes: readonly string[];
  }>;
  /** The packet filter's elements that lead host ports to a pod. */
  hostPorts(sandboxId: string): Promise<readonly string[]>;
}
