import type { Context } from "../command/context.ts";
import { healRules } from "../command/network.ts";
import { sweepElements, sweepLeases, sweepShapers } from "../command/sweep.ts";
import { networkKey, networkTag } from "../link/names.ts";
import type { Prefix } from "../spec/address.ts";
import type { NetConfig } from "../spec/config.ts";

const firstMs = 2_000;
const everyMs = 5 * 60_000;
const healMs = 5_000;

interface Watched {
  readonly config: NetConfig;
  readonly gateways: readonly Prefix[];
}

/**
 * Frees what crashes, reboots and lost calls have left, without being asked: not every runtime has garbage collection.
 * Knows the networks that it has seen an ADD of.
 */
export class Reaper {
  readonly #context: () => Promise<Context>;
  /** Each network as its last ADD had it: a configuration may change. */
  readonly #networks = new Map<string, Watched>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #healers = new Set<NodeJS.Timeout>();
  #closed = false;

  constructor(context: () => Promise<Context>) {
    this.#context = context;
  }

  /** Looks after this network from now on. */
  watch(config: NetConfig, gateways: readonly Prefix[]): void {
    const tag = networkTag(networkKey(config));
    this.#networks.set(tag, { config, gateways });
    if (this.#timers.has(tag) || this.#closed) return;
    this.#schedule(tag, firstMs);
    this.#heal(tag);
  }

  /** Whoever flushes all rules (a reload of nftables.service does) takes the pods' with them. */
  #heal(tag: string): void {
    const timer = setTimeout(() => {
      this.#healers.delete(timer);
      void this.#context()
        .then(async (context) => {
          const watched = this.#networks.get(tag);
          if (watched === undefined) return;
          const { config, gateways } = watched;
          await healRules(context, config, gateways).catch((error: unknown) =>
            context.warn("rules could not be put back", { network: config.name, error: String(error) }),
          );
        })
        .finally(() => {
          if (!this.#closed) this.#heal(tag);
        });
    }, healMs).unref();
    this.#healers.add(timer);
  }

  close(): void {
    this.#closed = true;
    for (const timer of [...this.#timers.values(), ...this.#healers]) clearTimeout(timer);
  }

  #schedule(tag: string, wait: number): void {
    if (this.#closed) return;
    const timer = setTimeout(() => {
      void this.#sweep(tag).finally(() => this.#schedule(tag, everyMs));
    }, wait);
    this.#timers.set(tag, timer.unref());
  }

  async #sweep(tag: string): Promise<void> {
    const watched = this.#networks.get(tag);
    if (watched === undefined) return;
    const { config } = watched;
    const context = await this.#context();
    try {
      const lock = await context.lockNetwork(networkKey(config), "exclusive");
      try {
        const { ipam } = config;
        if (ipam?.kind === "built-in") {
          const pool = await context.pool(ipam.dataDir, config.name);
          const freed = await sweepLeases(context, pool, config.bridge, 0);
          if (freed.length > 0)
            context.warn("freed addresses that nobody has", { network: config.name, freed });
        }
        await sweepShapers(context);
        await sweepElements(context);
      } finally {
        await lock.release();
      }
    } catch (error) {
      context.warn("looking for leftovers failed", { network: config.name, error: String(error) });
    }
  }
}
