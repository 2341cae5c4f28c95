/** A device node of the host. */
export interface DeviceNode {
  readonly path: string;
  readonly type: "c" | "b";
  readonly major: number;
  readonly minor: number;
  /** Permission bits only. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** What is known about this machine and about the server's own place in it; found once, at start. */
export interface HostFacts {
  readonly cgroupVersion: 1 | 2;
  readonly kernel: { readonly major: number; readonly minor: number };
  readonly arch: "x64" | "arm64";
  readonly bootId: string;
  /** The server's own bounding set: no container can get more than this. Bit n is capability n. */
  readonly boundingCapabilities: bigint;
  /** The server's own; without CAP_SYS_RESOURCE no process can go below it. */
  readonly oomScoreAdj: number;
  readonly canLowerOomScore: boolean;
  /** RLIMIT_NOFILE's hard limit of the server. */
  readonly maxOpenFiles: bigint;
  readonly apparmor: boolean;
  readonly selinux: boolean;
  /** mount_setattr(AT_RECURSIVE), since 5.12. */
  readonly recursiveReadOnlyMounts: boolean;
  /** Idmapped mounts of overlay's layers, since 5.19 (and user namespaces allowed at all). */
  readonly idmappedMounts: boolean;
  readonly userNamespaces: boolean;
  readonly timeNamespaces: boolean;
  /** overlay's `lowerdir+` in fsconfig, since 6.5. */
  readonly overlayLowerdirAppend: boolean;
  /** As hugetlb's file names have them: 2MB, 1GB. */
  readonly hugePageSizes: readonly string[];
}

/** What the plan has to ask of the host's file tree. */
export interface HostFiles {
  /** The device at this path (symlinks followed), or every device below this directory. Rejects `invalid-argument` when there is none. */
  devices(hostPath: string): Promise<readonly DeviceNode[]>;
  /** Every device that a privileged container gets. */
  allDevices(): Promise<readonly DeviceNode[]>;
  /** undefined when it is missing. */
  kindOf(hostPath: string): Promise<"file" | "directory" | "other" | undefined>;
  /** A regular file of at most maxBytes. Rejects `invalid-argument` naming the path. */
  readText(hostPath: string, maxBytes: number): Promise<string>;
  /** Whether the kernel has this AppArmor profile loaded. */
  apparmorProfileLoaded(name: string): Promise<boolean>;
}
