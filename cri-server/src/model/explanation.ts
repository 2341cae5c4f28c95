/** What `berth explain` shows: everything that is known of a pod and its containers, for people. Times are ISO 8601. */
export interface Explanation {
  /** What was asked for. */
  readonly subject: "pod" | "container";
  readonly pod: PodExplanation;
  /** Of a pod all, else the one. */
  readonly containers: readonly ContainerExplanation[];
}

/** Something that happened. */
export interface Milestone {
  readonly at: string;
  readonly what: string;
}

export interface NamespaceExplanation {
  readonly kind: string;
  readonly inode: string;
  /** "own", "the pod's", "the host's", or whose. */
  readonly whose: string;
  /** Names of the pod's containers whose processes are in it. */
  readonly sharedBy: readonly string[];
}

/** Work behind an answer that is under way. */
export interface PendingWork {
  readonly key: string;
  /** 0: its first try has not ended. */
  readonly failures: number;
  readonly since?: string;
  readonly error?: string;
}

export interface MonitorExplanation {
  readonly pid: number;
  readonly alive: boolean;
  readonly connected: boolean;
  /** Milliseconds until it answered; missing: it did not. */
  readonly answeredMs?: number;
  readonly residentBytes?: number;
  /** What it says of the pod's containers, by id. */
  readonly knows: Readonly<Record<string, string>>;
}

/** One interface of a pod, as the kernel has it. */
export interface InterfaceFacts {
  readonly name: string;
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly addresses: readonly string[];
  /** The host's end of a veth; "" when it is none or gone. */
  readonly hostLink: string;
}

export interface NetworkExplanation {
  readonly ips: readonly string[];
  readonly netns: string;
  readonly attachments: readonly AttachmentExplanation[];
  readonly interfaces: readonly InterfaceFacts[];
  readonly routes: readonly string[];
  /** Elements of the packet filter's maps. */
  readonly hostPorts: readonly string[];
}

/** What is kept of one CNI ADD. */
export interface AttachmentExplanation {
  readonly network: string;
  readonly ifName: string;
  /** Plugin types in order. */
  readonly chain: readonly string[];
  /** ADD has ended well. */
  readonly complete: boolean;
}

export interface PodExplanation {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly attempt: number;
  readonly state: string;
  readonly reason: string;
  readonly milestones: readonly Milestone[];
  /** Milliseconds of each step; missing of what an earlier server has made. */
  readonly steps?: Readonly<Record<string, number>>;
  readonly monitor?: MonitorExplanation;
  readonly namespaces: readonly NamespaceExplanation[];
  readonly cgroupParent: string;
  /** Missing: the pod has the host's network. */
  readonly network?: NetworkExplanation;
  readonly directory: string;
  readonly logDirectory: string;
  readonly pending: readonly PendingWork[];
  /** What is not as it should be. */
  readonly problems: readonly string[];
}

export interface LimitExplanation {
  readonly file: string;
  readonly wanted: string;
  /** Missing: the file can't be read. */
  readonly inForce?: string;
  readonly differs: boolean;
}

export interface ProcessExplanation {
  readonly pid: number;
  readonly command: string;
  readonly state: string;
  readonly uid: number;
  readonly gid: number;
  readonly namespaces: readonly NamespaceExplanation[];
  readonly capabilities: readonly string[];
  readonly bounding: readonly string[];
  readonly ambient: readonly string[];
  readonly noNewPrivileges: boolean;
  readonly seccomp: string;
  readonly lsm: string;
}

export interface MountExplanation {
  readonly target: string;
  readonly type: string;
  readonly source: string;
  readonly options: string;
}

export interface ContainerExplanation {
  readonly id: string;
  readonly name: string;
  readonly attempt: number;
  readonly image: string;
  readonly imageId: string;
  readonly state: string;
  readonly milestones: readonly Milestone[];
  readonly steps?: Readonly<Record<string, number>>;
  readonly process?: ProcessExplanation;
  readonly cgroup: string;
  readonly limits: readonly LimitExplanation[];
  readonly usage?: { readonly memoryBytes: number; readonly processes: number; readonly cpuSeconds: number };
  readonly root?: { readonly layers: readonly string[]; readonly upper: string };
  readonly mounts: readonly MountExplanation[];
  readonly seccompWanted: string;
  readonly apparmorWanted: string;
  readonly exit?: { readonly code: number; readonly reason: string; readonly message: string };
  /** "" is no log. */
  readonly logPath: string;
  readonly logBytes?: number;
  readonly directory: string;
  readonly pending: readonly PendingWork[];
  readonly problems: readonly string[];
}
