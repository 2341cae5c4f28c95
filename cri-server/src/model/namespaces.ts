/** Which namespaces a pod or container asks for (CRI NamespaceOption). */
export type NamespaceMode = "POD" | "CONTAINER" | "NODE" | "TARGET";

export interface NamespaceOptions {
  readonly network: "POD" | "NODE";
  readonly pid: NamespaceMode;
  readonly ipc: "POD" | "NODE";
  /** The container whose PID namespace is joined; only with pid TARGET. */
  readonly targetId?: string;
  /** Missing: the host's user namespace. */
  readonly userns?: UserNamespace;
}

/** CRI allows exactly one range each, equal for uid and gid, covering container id 0. */
export interface UserNamespace {
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
}

export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly length: number;
}
