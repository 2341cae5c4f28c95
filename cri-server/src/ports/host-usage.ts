import type { NetworkUsage } from "./usage.ts";

/** What the processes of a container hold. */
export interface ProcessUsage {
  readonly processes: number;
  readonly fileDescriptors: number;
  readonly sockets: number;
  /** Soft RLIMIT_NOFILE of the first process; undefined when there is none or it is unlimited. */
  readonly openFilesLimit: bigint | undefined;
}

/** The file system below a directory. */
export interface FileSystemSpace {
  /** As the kernel names it, e.g. /dev/vda. */
  readonly device: string;
  readonly totalBytes: bigint;
  readonly totalInodes: bigint;
  readonly freeInodes: bigint;
}

/** Figures that belong to no cgroup file. */
export interface HostUsage {
  network(netnsPath: string): Promise<NetworkUsage>;
  /** Processes that have ended meanwhile are left out. */
  processes(pids: readonly number[]): Promise<ProcessUsage>;
  space(directory: string): Promise<FileSystemSpace>;
  /** "8:0" as /dev/sda; the number itself where the kernel knows no name. */
  blockDeviceName(device: string): Promise<string>;
}
