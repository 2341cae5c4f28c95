/** One node of containerEdits.deviceNodes, as the spec has it. */
export interface CdiDeviceNode {
  /** In the container. */
  readonly path: string;
  /** On the host; the same path where the spec names none. */
  readonly hostPath: string;
  /** The kernel's letter (`u` is `c`); undefined: as the host has it. */
  readonly type: "c" | "b" | "p" | undefined;
  /** 0: as the host has it. */
  readonly major: number;
  readonly minor: number;
  readonly mode: number | undefined;
  /** Of r, w and m; "" allows nothing by itself. */
  readonly access: string;
  /** undefined: the container's user and group. */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  /** "" is a bind mount. */
  readonly type: string;
  readonly options: readonly string[];
}

/** A program of the host that finishes the container's root (OCI runtime-spec, createContainer). */
export interface CdiHook {
  /** Absolute. */
  readonly path: string;
  /** With the program's name as the first; empty: the path alone. */
  readonly args: readonly string[];
  /** KEY=value, all that it gets. */
  readonly env: readonly string[];
  /** undefined: the spec sets none. */
  readonly timeoutSeconds: number | undefined;
}

/** What one device, or all devices of one spec, want to be changed about a container. */
export interface CdiEdits {
  /** For messages: the device or kind, and the file that says so. */
  readonly source: string;
  /** KEY=value. */
  readonly env: readonly string[];
  readonly deviceNodes: readonly CdiDeviceNode[];
  readonly mounts: readonly CdiMount[];
  readonly additionalGids: readonly number[];
  /** In their order. */
  readonly hooks: readonly CdiHook[];
  /** What is asked for and not offered (other hooks, intelRdt, netDevices), described; whoever applies the edits refuses it. */
  readonly refused: readonly string[];
}

/** The devices that vendors describe in spec files (Container Device Interface). */
export interface CdiDevices {
  /**
   * What these devices (vendor.com/class=name) want, in the order to apply it: before the first device of a spec what the
   * spec wants for all. Rejects `invalid-argument` naming those that no spec defines, or that two define.
   */
  resolve(names: readonly string[]): Promise<readonly CdiEdits[]>;
}
