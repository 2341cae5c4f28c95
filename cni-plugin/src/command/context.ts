import type { Pool } from "../ipam/pool.ts";
import type { Held } from "../kernel/gate.ts";
import type { Host } from "../link/host.ts";
import type { NetworkKey } from "../link/names.ts";
import type { UnlinkQueue } from "../link/unlink.ts";
import type { Table } from "../nft/table.ts";
import type { Prefix } from "../spec/address.ts";
import type { NetConfig } from "../spec/config.ts";
import type { Call } from "../spec/env.ts";

/** What the commands work with. */
export interface Context {
  readonly host: Host;
  readonly table: Table;
  readonly unlink: UnlinkQueue;
  /** The kernel's id of this boot. */
  readonly boot: string;
  pool(dataDir: string, network: string): Promise<Pool>;
  /** Shared for a pod's calls, exclusive for GC: so that GC never sees half of an ADD. */
  lockNetwork(key: NetworkKey, mode: "shared" | "exclusive"): Promise<Held>;
  /** Whoever changes rules or takes host ports, in whatever process. */
  lockTable(): Promise<Held>;
  /** Remembers for a second that a network's bridge and rules are in order, so that a burst of pods asks once. */
  readonly networks: Map<string, Promise<NetworkReady>>;
  /** Runs an IPAM plugin that is none of ours. */
  delegate(
    type: string,
    call: Call,
    env: Readonly<Record<string, string>>,
    config: NetConfig,
  ): Promise<unknown>;
  /** Has leftovers of this network freed now and then. */
  watch(config: NetConfig, gateways: readonly Prefix[]): void;
  warn(message: string, fields?: object): void;
}

export interface NetworkReady {
  readonly bridge: number;
  readonly bridgeMac: string;
  readonly bridgeMtu: number;
  readonly ipv6: boolean;
  /** The bridge passes nothing on between pods' ports. */
  readonly isolatedPorts: boolean;
  readonly at: number;
}

/** One call with everything that was parsed of it. */
export interface Request {
  readonly call: Call;
  readonly config: NetConfig;
  readonly env: Readonly<Record<string, string>>;
  readonly netnsFd: number | undefined;
}
