/** A network namespace's place in the directory of pins. */
export interface Pin {
  readonly sandboxId: string;
  readonly path: string;
  /** Of the namespace that is mounted there; undefined: it is a file like any other. */
  readonly inode: string | undefined;
}

/** What a check of the whole state looks for in the kernel, and what it can mend there. */
export interface Upkeep {
  /** Pins that are named as ours, also those of another server that shares the directory. */
  pins(): Promise<readonly Pin[]>;
  /** Which of these network namespaces some process is in or holds. */
  namespacesInUse(inodes: readonly string[]): Promise<ReadonlySet<string>>;
  /** Monitors of pods in our state directory. */
  monitors(): Promise<readonly { readonly pid: number; readonly sandboxId: string }[]>;
  isMounted(path: string): Promise<boolean>;
  exists(path: string): Promise<boolean>;
  /** Links and host ports on this host that our CNI plugin has marked as some pod's. */
  owned(): Promise<{
    readonly links: readonly (OwnedThing & { readonly bridge: string })[];
    /** `link` proves that the pod lives. */
    readonly hostPorts: readonly (OwnedThing & { readonly link: string })[];
  }>;
  /** Pins the network namespace that a monitor holds; what was at the path is taken away. */
  pin(monitorPid: number, path: string): Promise<void>;
  /** Removes a pin, mounted or not. */
  unpin(path: string): Promise<void>;
  /** Mounts a pod's /dev/shm anew, as a monitor does. */
  mountShm(path: string, bytes: bigint, owner: number): Promise<void>;
  /** SIGKILL to a process and everything that it has started, last first. */
  killTree(pid: number): Promise<void>;
}

export interface OwnedThing {
  readonly name: string;
  readonly sandboxId: string;
  readonly network: string;
}
