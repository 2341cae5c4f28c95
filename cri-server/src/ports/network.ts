import type { NetworkAttachment, NetworkStatus } from "../model/network.ts";
import type { SandboxConfig } from "../model/sandbox.ts";

export interface AttachRequest {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly config: SandboxConfig;
  /** CNI cgroupPath capability. */
  readonly cgroupPath: string;
}

/** One ADD, as the cache has it. */
export interface AttachmentFacts {
  readonly network: string;
  readonly ifName: string;
  /** Types of the plugins, in order. */
  readonly chain: readonly string[];
  /** ADD has ended well. */
  readonly complete: boolean;
}

/** The pod network, i.e. the CNI chain of the configuration directory. */
export interface PodNetwork {
  /** ADD through the chain; on failure the chain has been undone by DEL. Rejects with `network-not-ready` without a configuration. */
  attach(request: AttachRequest, signal?: AbortSignal): Promise<NetworkAttachment>;
  /** DEL with the cached configuration. Idempotent; works when the netns ("") or the configuration is gone. */
  detach(sandboxId: string, netnsPath: string): Promise<void>;
  /** What is kept of a sandbox's attachments. */
  attachments(sandboxId: string): Promise<readonly AttachmentFacts[]>;
  /** Every attachment of ours that is kept. */
  attached(): Promise<readonly { readonly sandboxId: string; readonly network: string }[]>;
  /** CHECK of an attached sandbox. Rejects `network-failed` with what its plugins miss. */
  check(sandboxId: string, netnsPath: string, signal?: AbortSignal): Promise<void>;
  /** The network of new pods, and those of attachments that are kept; with the bridges that their plugins name. */
  networks(): Promise<readonly { readonly name: string; readonly bridges: readonly string[] }[]>;
  /** From memory: never waits. */
  status(): NetworkStatus;
  /** GC: everything that belongs to none of these sandboxes is freed. Run once after recovery and then periodically. */
  collect(liveSandboxIds: readonly string[]): Promise<void>;
  /** For Status(verbose): the configuration now in force, as JSON, and when it was loaded. */
  describe(): Readonly<Record<string, string>>;
  /** UpdateRuntimeConfig: the node's pod CIDRs ("" when none). */
  setPodCidr(cidr: string): Promise<void>;
  close(): Promise<void>;
}
