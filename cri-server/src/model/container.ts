import type { ContainerId, ImageId, SandboxId } from "./ids.ts";
import type { IdMapping, NamespaceOptions } from "./namespaces.ts";
import type { Resources } from "./resources.ts";

export interface ContainerMetadata {
  readonly name: string;
  readonly attempt: number;
}

export type Propagation = "private" | "rslave" | "rshared";

/** One requested mount (CRI Mount). Exactly one of hostPath and image is the source. */
export interface MountRequest {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly recursiveReadOnly: boolean;
  readonly propagation: Propagation;
  readonly selinuxRelabel: boolean;
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
  /** The image to mount, by id; "" when this is a host path. */
  readonly image: string;
  readonly imageSubPath: string;
  /** Filled in when the container is made: the image volume's repository digest, or its id. */
  readonly imageRef?: string;
  /** Likewise, which image that was: the name may be another's by now, or gone with a removal. */
  readonly imageId?: ImageId;
  /** Any of noexec, nosuid, nodev. */
  readonly options: readonly string[];
}

export interface DeviceRequest {
  readonly containerPath: string;
  readonly hostPath: string;
  /** Any of r, w, m. */
  readonly permissions: string;
}

export type SecurityProfile =
  | { readonly kind: "runtime-default" }
  | { readonly kind: "unconfined" }
  | { readonly kind: "localhost"; readonly ref: string };

/** A user as asked for; resolved against the image's passwd and group files when the plan is made. */
export interface UserRequest {
  /** Missing: the image's config.User. */
  readonly uid?: bigint;
  readonly username?: string;
  readonly gid?: bigint;
  readonly supplementalGroups: readonly bigint[];
  readonly groupsPolicy: "merge" | "strict";
}

export interface SecurityContext {
  readonly capabilitiesAdd: readonly string[];
  readonly capabilitiesDrop: readonly string[];
  readonly capabilitiesAmbient: readonly string[];
  readonly privileged: boolean;
  readonly namespaces: NamespaceOptions;
  readonly user: UserRequest;
  readonly readonlyRootfs: boolean;
  readonly noNewPrivileges: boolean;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly seccomp: SecurityProfile;
  /** Missing: the runtime's default where AppArmor is enabled. */
  readonly apparmor?: SecurityProfile;
  readonly selinux?: SelinuxOptions;
}

export interface SelinuxOptions {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  readonly level: string;
}

/** What CreateContainer asked for, validated and frozen. */
export interface ContainerConfig {
  readonly metadata: ContainerMetadata;
  /** ImageSpec.image: an id, or a name that resolves to one. */
  readonly image: string;
  readonly userSpecifiedImage: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  /** Values are bytes since cri-api 0.37; kept here in latin1 so that every byte survives JSON. */
  readonly envs: readonly { readonly key: string; readonly value: string }[];
  readonly mounts: readonly MountRequest[];
  readonly devices: readonly DeviceRequest[];
  readonly cdiDevices: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Relative to the sandbox's log directory; "" is no log. */
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  /** A Linux signal number; missing: the image's, else SIGTERM. */
  readonly stopSignal?: number;
  readonly resources: Resources;
  readonly security: SecurityContext;
}

/** The user that the process really got. */
export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /** Complete and in order; contains gid. */
  readonly groups: readonly number[];
  readonly home: string;
}

/**
 * One container's life:
 *
 *     creating ──> created ──> running ──> exited ──> removing ──> (gone)
 *        │            └──(start failed: StartError)──^
 *        └──(failed: rolled back)──> (gone), or unknown
 */
export type ContainerStatus =
  | { readonly phase: "creating" }
  | { readonly phase: "created"; readonly pid: number; readonly startTime: bigint }
  | {
      readonly phase: "running";
      readonly pid: number;
      readonly startTime: bigint;
      readonly startedAt: bigint;
    }
  | {
      readonly phase: "exited";
      readonly startedAt: bigint;
      readonly finishedAt: bigint;
      readonly exitCode: number;
      /** Completed, Error, OOMKilled, StartError, ContainerCannotRun, MonitorLost, Unknown. */
      readonly reason: string;
      readonly message: string;
    }
  | { readonly phase: "removing" }
  | { readonly phase: "unknown"; readonly message: string };

/**
 * What further processes of a container (exec) take from its first one and can't be derived from the configuration again,
 * because the image may be gone by then. The rest follows from the configuration.
 */
export interface ProcessFacts {
  /** KEY=value, latin1. */
  readonly env: readonly string[];
  readonly cwd: string;
  /** Key of the compiled filter (SeccompFilters.load); "" is no filter. */
  readonly seccompKey: string;
  /** AppArmor profile of the exec attribute; "" none. */
  readonly apparmor: string;
  /** As applied, after clamping. */
  readonly oomScoreAdj: number;
}

export interface Container {
  readonly id: ContainerId;
  readonly sandboxId: SandboxId;
  readonly config: ContainerConfig;
  /** Nanoseconds since the epoch. */
  readonly createdAt: bigint;
  readonly imageId: ImageId;
  /** repo@sha256:..., or the id when the image has no repository digest. */
  readonly imageRef: string;
  /** Readable name for status. */
  readonly imageName: string;
  readonly user: ResolvedUser;
  readonly process: ProcessFacts;
  /** Absolute; "" is no log. */
  readonly logPath: string;
  readonly stopSignal: number;
  /** Directory of upper and work, host path. */
  readonly layerDir: string;
  /** Cgroup path below each hierarchy's root. */
  readonly cgroupPath: string;
  /** What is applied now; replaced by UpdateContainerResources. */
  readonly resources: Resources;
  /** Requested mounts with image volumes' digests filled in, as ContainerStatus lists them. */
  readonly mounts: readonly MountRequest[];
  readonly status: ContainerStatus;
}
