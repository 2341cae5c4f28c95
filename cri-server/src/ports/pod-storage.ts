import type { ExitRecord } from "./monitor.ts";

/** Host paths of one sandbox. */
export interface PodPaths {
  readonly dir: string;
  readonly resolvConf: string;
  readonly hostname: string;
  readonly hosts: string;
  readonly shm: string;
  /** Where its network namespace is pinned. */
  readonly netns: string;
}

/** Host paths of one container. */
export interface ContainerStorage {
  /** Parent of upper and work. */
  readonly dir: string;
  readonly upper: string;
  readonly work: string;
  readonly exitFile: string;
  /** What hooks get to see as an OCI bundle. */
  readonly bundle: string;
}

/** Who owns a new directory on the host. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** What the file system holds beyond what the records name. */
export interface Leftovers {
  readonly sandboxIds: readonly string[];
  readonly containerIds: readonly string[];
}

/** The files and directories of pods and containers. Paths follow from ids alone, so that they can be found again. */
export interface PodStorage {
  pod(sandboxId: string): PodPaths;
  container(containerId: string): ContainerStorage;
  /** Makes the pod's directory and the files in it; `dns` undefined copies the host's resolv.conf. */
  makePod(
    sandboxId: string,
    files: { readonly resolvConf: string | undefined; readonly hostname: string },
  ): Promise<void>;
  /** `text` undefined copies the host's file. */
  writeHosts(sandboxId: string, text: string | undefined): Promise<void>;
  /**
   * Makes upper and work. With `limitBytes` above 0 no more than that can be written to them; rejects `unimplemented` where
   * the file system can't hold to it.
   */
  makeContainer(containerId: string, owner: Owner, limitBytes: bigint): Promise<void>;
  /** For hooks: a folder in the container's directory with config.json and an empty `rootfs`. */
  makeBundle(containerId: string, config: string): Promise<void>;
  /** Gives back what a container's directory had beyond its files; after these have been removed. */
  releaseLayer(containerId: string): Promise<void>;
  /** Makes a pod's log directory, if it is missing; what is below it the monitor makes. */
  makeLogDirectory(directory: string): Promise<void>;
  /** The durable exit record, or undefined when there is none that can be read. */
  readExit(containerId: string): Promise<ExitRecord | undefined>;
  removeExit(containerId: string): Promise<void>;
  /** Takes away the mounts that a monitor which was killed has left (shm, netns). Nothing there is success. */
  unpin(sandboxId: string): Promise<void>;
  /** Finds directories, pins and exit files that belong to none of these. */
  leftovers(sandboxIds: ReadonlySet<string>, containerIds: ReadonlySet<string>): Promise<Leftovers>;
  close(): Promise<void>;
}
