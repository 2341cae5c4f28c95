import type { UserNamespace } from "../model/namespaces.ts";
import type { ExecPlan, LaunchPlan } from "../model/plan.ts";
import type { ProcessIdentity } from "../model/sandbox.ts";

/** What a pod's monitor is started with. */
export interface PodMonitorSpec {
  readonly sandboxId: string;
  /** Directory of this pod under the run directory; exists. The monitor makes its socket there, and pod.json's like. */
  readonly podDir: string;
  /** Make new ones, or stay in the host's. */
  readonly network: "new" | "host";
  readonly ipc: "new" | "host";
  readonly uts: "new" | "host";
  /** Make a pod PID namespace with a native init as its PID 1. */
  readonly pidInit: boolean;
  readonly userns: UserNamespace | undefined;
  /** Host path to pin the network namespace at (its directory exists); "" with the host's. */
  readonly netnsPath: string;
  /** "" keeps the host's. */
  readonly hostname: string;
  /** Already validated; written inside the pod's namespaces. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Host path where a tmpfs for the pod's /dev/shm is mounted (directory exists); "" with the host's IPC. */
  readonly shmPath: string;
  readonly shmBytes: bigint;
  /** cgroup for the pod's init, if pidInit: same rules as LaunchPlan.cgroup; else undefined. */
  readonly initCgroup: LaunchPlan["cgroup"] | undefined;
}

export interface ExitRecord {
  readonly containerId: string;
  /** 0..255, 128+n for a fatal signal. */
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** Nanoseconds since the epoch; startedAt is 0 when the process never ran. */
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
}

/** A container as its monitor knows it, for reconciliation after a restart. */
export interface MonitoredContainer {
  readonly containerId: string;
  readonly state: "created" | "running" | "exited";
  readonly process: ProcessIdentity;
  readonly startedAt: bigint;
  readonly exit: ExitRecord | undefined;
}

export interface ExecSyncOutcome {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** The process was killed because its time was up. */
  readonly timedOut: boolean;
}

/**
 * Streams of a session, as plain Node streams. stdin.end() half-closes. Errors destroy all. Back-pressure is the kernel's:
 * what is not read is not taken from the process.
 */
export interface SessionStreams {
  readonly stdin: NodeJS.WritableStream | undefined;
  readonly stdout: NodeJS.ReadableStream | undefined;
  readonly stderr: NodeJS.ReadableStream | undefined;
}

export interface ExecSession extends SessionStreams {
  /** Resolves with the exit code when the process has ended (its output may still be unread). */
  readonly exit: Promise<number>;
  resize(columns: number, rows: number): void;
  /** Kills the process group; used when the client has gone. */
  kill(): void;
}

export interface AttachSession extends SessionStreams {
  /** Resolves when the container has exited or the session was closed. */
  readonly ended: Promise<void>;
  resize(columns: number, rows: number): void;
  close(): void;
}

export interface SessionRequest {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** One pod's monitor: the parent of all its processes. Survives the server. All failures are BerthError. */
export interface Monitor {
  readonly process: ProcessIdentity;
  /** Does everything up to execve; the process waits. Rejects with the failing stage and errno; then nothing is left. */
  create(plan: LaunchPlan, signal?: AbortSignal): Promise<ProcessIdentity>;
  /** Lets the process exec. Rejects if execve failed (the exit record is then written: StartError). */
  start(containerId: string): Promise<{ readonly startedAt: bigint }>;
  /** By pidfd. `all` kills every process of the container's cgroup too (SIGKILL only). */
  kill(containerId: string, signal: number, all: boolean): Promise<void>;
  execSync(
    plan: ExecPlan,
    timeoutMs: number,
    maxBytes: number,
    signal?: AbortSignal,
  ): Promise<ExecSyncOutcome>;
  exec(plan: ExecPlan, request: SessionRequest): Promise<ExecSession>;
  attach(containerId: string, request: SessionRequest): Promise<AttachSession>;
  /** Opens the log path anew and switches between two lines; after an error no new file exists. */
  reopenLog(containerId: string): Promise<void>;
  list(): Promise<readonly MonitoredContainer[]>;
  /** Forgets an exited container (or kills a created one first). Idempotent. */
  remove(containerId: string): Promise<void>;
  /** Kills whatever is left in the pod, unmounts shm, unpins the netns, ends the monitor. Resolves when it has gone. */
  shutdown(): Promise<void>;
  /** Each exit is reported once per connection, after its record is durable; exits from before a reconnect show in list(). */
  onExit(listener: (exit: ExitRecord) => void): void;
  /** The connection ended although shutdown() was not called. */
  onLost(listener: () => void): void;
  /** Drops the connection; the monitor lives on. */
  disconnect(): void;
}

export interface MonitorHost {
  /** Rejects with stage and errno; then nothing is left. */
  spawn(spec: PodMonitorSpec, signal?: AbortSignal): Promise<Monitor>;
  /** Connects to the monitor that serves podDir after a restart. Rejects with `monitor-lost` if it is gone. */
  reconnect(sandboxId: string, podDir: string, process: ProcessIdentity): Promise<Monitor>;
  /** Reads files (at most `maxBytes` each, regular files only) from a read-only overlay of layers, LOWEST first. Missing: undefined. */
  readImageFiles(
    layerDirs: readonly string[],
    paths: readonly string[],
    maxBytes: number,
  ): Promise<readonly (Buffer | undefined)[]>;
  /** Removes trees in the background, without following links or crossing mounts. Resolves when gone. */
  removeTrees(paths: readonly string[]): Promise<void>;
  /** Runs a program (a CNI plugin, a credential helper) without forking the server. Output is capped at 4 MiB each. */
  run(request: RunRequest, signal?: AbortSignal): Promise<RunOutcome>;
  close(): Promise<void>;
}

export interface RunRequest {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Buffer;
  readonly timeoutMs: number;
  readonly cwd?: string;
}

export interface RunOutcome {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly timedOut: boolean;
}
