import type { PluginEnv } from "../spec/env.ts";
import type { NetworkFacts, OwnedLink, OwnedPort } from "./inspect.ts";

/** What the executable would have printed and returned. */
export interface PluginOutcome {
  readonly exitCode: number;
  readonly stdout: Buffer;
}

export interface PluginServer {
  /** The path it listens on. */
  readonly path: string;
  close(): Promise<void>;
}

export type LogLine = (level: "info" | "warn" | "error", message: string, fields?: object) => void;

export interface PluginOptions {
  /** Locks and other things of this boot; default /run/berth/cni. Every process on a host must use the same. */
  readonly runDir?: string;
  /** For processes that stay (the default): they keep an index of the leases. */
  readonly resident?: boolean;
  /** Someone else deletes the links that DEL has cut off. */
  readonly leaveLinks?: boolean;
  /** Default: nothing is logged. */
  readonly log?: LogLine;
}

/** The plugin inside a process. Never throws for a fault of a call: that is an exit code and an error object. */
export interface Plugin {
  /**
   * One call, as if the executable had been run with this environment and standard input.
   * `netnsFd` saves opening CNI_NETNS; it stays the caller's.
   */
  run(env: PluginEnv, stdin: Buffer, netnsFd?: number): Promise<PluginOutcome>;
  /** Serves the executable's launcher on a Unix socket (mode 0600). A socket that nobody serves any more is replaced. */
  serve(socketPath: string): Promise<PluginServer>;
  /** Interfaces and routes of a network namespace. Rejects when it can't be entered. */
  inspect(netnsPath: string): Promise<NetworkFacts>;
  /** The host ports that lead to a pod, as `tcp 8080 -> 10.1.0.5:80`. */
  hostPorts(containerId: string): Promise<readonly string[]>;
  /** Links and host ports on this host, of whichever pod. */
  owned(): Promise<{ readonly links: readonly OwnedLink[]; readonly hostPorts: readonly OwnedPort[] }>;
  /** Waits for calls under way and for links still to be deleted, then closes all sockets. */
  close(): Promise<void>;
}
