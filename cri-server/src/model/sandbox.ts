import type { SandboxId } from "./ids.ts";
import type { NamespaceOptions } from "./namespaces.ts";
import type { Resources } from "./resources.ts";

export interface SandboxMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export interface PortMapping {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  /** 0: not exposed. */
  readonly hostPort: number;
  /** "" is every address of both families. */
  readonly hostIp: string;
}

/** What RunPodSandbox asked for, validated and frozen. Never changes afterwards (but see Sandbox.resources). */
export interface SandboxConfig {
  readonly metadata: SandboxMetadata;
  readonly hostname: string;
  /** Absolute; "" when the pod writes no logs. */
  readonly logDirectory: string;
  /** Missing: copy the host's /etc/resolv.conf. */
  readonly dns?: DnsConfig;
  readonly portMappings: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** As the client gave it, "" when it gave none. */
  readonly cgroupParent: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly namespaces: NamespaceOptions;
  readonly privileged: boolean;
  readonly runtimeHandler: string;
  readonly overhead?: Resources;
  readonly resources?: Resources;
}

/**
 * One sandbox's life:
 *
 *     creating ──> ready ──> stopping ──> notready ──> removing ──> (gone)
 *        │           └──────(monitor or reboot lost it)──> notready
 *        └──(failed: rolled back)──> (gone), or unknown when an undo step failed
 *
 * `stopping` and `unknown` are shown to clients as NOTREADY; `creating` and `removing` are not shown at all: of the one nobody
 * was told yet, and the kubelet would collect it as garbage; the other is gone.
 */
export type SandboxPhase = "creating" | "ready" | "stopping" | "notready" | "removing" | "unknown";

/** The part of a sandbox that changes. One record, replaced as a whole. */
export interface SandboxStatus {
  readonly phase: SandboxPhase;
  /** Addresses without prefix length, primary first. Empty for host network. */
  readonly ips: readonly string[];
  /** Host path of the pinned network namespace; missing for host network. */
  readonly netnsPath?: string;
  /** The monitor's pid and start time (field 22 of /proc/PID/stat), so that a reused pid is told apart. */
  readonly monitor?: ProcessIdentity;
  /** boot_id of the kernel that this sandbox ran under. */
  readonly bootId: string;
  /** Why it is not ready, for people. */
  readonly reason?: string;
  /** The network may be attached; missing when it is not, or no longer. */
  readonly attached?: true;
  /** Cgroup directories that were made for it (and for the others below them), deepest last. */
  readonly cgroupDirs?: readonly string[];
}

export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: bigint;
}

export interface Sandbox {
  readonly id: SandboxId;
  readonly config: SandboxConfig;
  /** Nanoseconds since the epoch. */
  readonly createdAt: bigint;
  /** Absolute cgroup path relative to each hierarchy's root, as resolved from cgroupParent by the driver. */
  readonly cgroupParent: string;
  readonly status: SandboxStatus;
}
