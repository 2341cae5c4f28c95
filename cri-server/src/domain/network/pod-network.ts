import type { CniConfig } from "../../config/config.ts";
import { BerthError } from "../../errors/berth-error.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import type { NetworkAttachment, NetworkStatus } from "../../model/network.ts";
import type { AttachmentCache, CachedAttachment, ConfigDirectory, PluginRunner } from "../../ports/cni.ts";
import type { Logger } from "../../ports/logger.ts";
import type { AttachmentFacts, AttachRequest, PodNetwork } from "../../ports/network.ts";
import {
  addToChain,
  type ChainDeps,
  checkChain,
  collectChain,
  deleteFromChain,
  hasGarbageCollection,
} from "./chain.ts";
import { Configuration } from "./configuration.ts";
import { type NetworkList, parseNetworkList } from "./conflist.ts";
import { Gate } from "./gate.ts";
import { Readiness } from "./readiness.ts";
import { type Attachment, attachmentOf, podInterface } from "./request.ts";
import { addressesOf } from "./result.ts";

export interface PodNetworkDeps {
  readonly config: Pick<CniConfig, "timeoutSeconds">;
  readonly runner: PluginRunner;
  readonly cache: AttachmentCache;
  readonly directory: ConfigDirectory;
  readonly log: Logger;
}

/** The pod network with what only tools need. */
export interface CniNetwork extends PodNetwork {
  /** Resolves when the directory has been read and the network in it, if any, has been checked once. */
  ready(): Promise<void>;
}

export function createPodNetwork(deps: PodNetworkDeps): CniNetwork {
  return new Network(deps);
}

function toCached(list: NetworkList, attachment: Attachment): CachedAttachment {
  const { containerId, ifName, netns, cniArgs, capabilityArgs } = attachment;
  return {
    containerId,
    ifName,
    netns,
    cniArgs,
    capabilityArgs,
    networkName: list.name,
    config: list.text,
    ours: true,
  };
}

/** An attachment of ours whose sandbox is no more. */
function isOrphan(cached: CachedAttachment, live: ReadonlySet<string>): boolean {
  return cached.ours && !live.has(cached.containerId);
}

class Network implements CniNetwork {
  readonly #deps: PodNetworkDeps;
  readonly #chain: ChainDeps;
  readonly #configuration: Configuration;
  readonly #readiness: Readiness;
  readonly #gate = new Gate();
  readonly #pods = new KeyedMutex();
  /** Sandboxes that this process has attached or is attaching: GC never takes them, however old its caller's list is. */
  readonly #attached = new Set<string>();
  #podCidr = "";

  constructor(deps: PodNetworkDeps) {
    this.#deps = deps;
    this.#chain = { runner: deps.runner, log: deps.log, timeoutMs: deps.config.timeoutSeconds * 1000 };
    this.#configuration = new Configuration(deps.directory, deps.log, () => void this.#readiness.check());
    this.#readiness = new Readiness(this.#configuration, this.#chain);
  }

  async attach(request: AttachRequest, signal?: AbortSignal): Promise<NetworkAttachment> {
    const attachment = attachmentOf(request);
    await this.#configuration.settled();
    return await this.#pods.run(
      request.sandboxId,
      () => this.#gate.shared(() => this.#attach(attachment, signal)),
      signal,
    );
  }

  async #attach(attachment: Attachment, signal?: AbortSignal): Promise<NetworkAttachment> {
    const list = this.#configuration.current?.list;
    if (list === undefined) {
      throw new BerthError(
        "network-not-ready",
        `no CNI network is configured: ${this.#configuration.problem}`,
      );
    }
    const cached = toCached(list, attachment);
    // Kept before the first plugin runs: whatever ends this process in between, GC or DEL finds the attachment.
    await this.#deps.cache.put(cached);
    this.#attached.add(attachment.containerId);
    try {
      const result = await addToChain(this.#chain, list, attachment, signal);
      const ips = addressesOf(list.name, result, attachment.ifName);
      await this.#deps.cache.put({ ...cached, result });
      return { ips };
    } catch (error) {
      await this.#undo(list, attachment, cached);
      this.#attached.delete(attachment.containerId);
      throw error;
    }
  }

  /** A failed ADD is followed by a DEL of the whole chain (SPEC.md, "ADD"). What it can't undo stays cached for GC. */
  async #undo(list: NetworkList, attachment: Attachment, cached: CachedAttachment): Promise<void> {
    try {
      await deleteFromChain(this.#chain, list, attachment, undefined);
      await this.#deps.cache.remove(cached);
    } catch (error) {
      this.#deps.log.error(
        { err: error, sandbox: attachment.containerId, network: list.name },
        "a failed ADD could not be undone; it is left to GC",
      );
    }
  }

  async detach(sandboxId: string, netnsPath: string): Promise<void> {
    await this.#configuration.settled();
    await this.#pods.run(sandboxId, () => this.#gate.shared(() => this.#detach(sandboxId, netnsPath)));
  }

  async #detach(sandboxId: string, netnsPath: string): Promise<void> {
    const current = this.#configuration.current?.list;
    const cached = await this.#deps.cache.find(sandboxId, current?.name ?? "");
    for (const attachment of cached) {
      await this.#deleteCached(attachment, netnsPath);
    }
    if (cached.length === 0 && current !== undefined) {
      // Never attached, already detached, or the cache was lost. Only the last needs this, and DEL may be repeated.
      const attachment = {
        containerId: sandboxId,
        ifName: podInterface,
        netns: netnsPath,
        cniArgs: [],
        capabilityArgs: {},
      };
      await deleteFromChain(this.#chain, current, attachment, undefined);
    }
    this.#attached.delete(sandboxId);
  }

  async #deleteCached(cached: CachedAttachment, netnsPath: string): Promise<void> {
    const list = parseNetworkList(`cached for ${cached.containerId}`, cached.config);
    await deleteFromChain(this.#chain, list, { ...cached, netns: netnsPath }, cached.result);
    await this.#deps.cache.remove(cached);
  }

  async check(sandboxId: string, netnsPath: string, signal?: AbortSignal): Promise<void> {
    await this.#pods.run(sandboxId, () =>
      this.#gate.shared(async () => {
        const name = this.#configuration.current?.list.name ?? "";
        for (const cached of await this.#deps.cache.find(sandboxId, name)) {
          const list = parseNetworkList(`cached for ${sandboxId}`, cached.config);
          await checkChain(this.#chain, list, { ...cached, netns: netnsPath }, cached.result ?? {}, signal);
        }
      }),
    );
  }

  async attachments(sandboxId: string): Promise<readonly AttachmentFacts[]> {
    const found = await this.#deps.cache.find(sandboxId, this.#configuration.current?.list.name ?? "");
    return found.map(({ networkName, ifName, config, result }) => ({
      network: networkName,
      ifName,
      chain: parseNetworkList(`cached for ${sandboxId}`, config).plugins.map(({ type }) => type),
      complete: result !== undefined,
    }));
  }

  async attached(): Promise<readonly { readonly sandboxId: string; readonly network: string }[]> {
    const ours = (await this.#deps.cache.list()).filter((cached) => cached.ours);
    return ours.map(({ containerId, networkName }) => ({ sandboxId: containerId, network: networkName }));
  }

  async networks(): Promise<readonly { readonly name: string; readonly bridges: readonly string[] }[]> {
    const kept = (await this.#deps.cache.list()).filter((cached) => cached.ours);
    const texts = new Set(kept.map(({ config }) => config));
    const lists = [...texts].map((config) => parseNetworkList("cached", config));
    const current = this.#configuration.current?.list;
    return [...(current === undefined ? [] : [current]), ...lists].map(({ name, plugins }) => ({
      name,
      bridges: plugins.flatMap(({ config }) => (typeof config.bridge === "string" ? [config.bridge] : [])),
    }));
  }

  status(): NetworkStatus {
    return this.#readiness.status;
  }

  async ready(): Promise<void> {
    await this.#configuration.settled();
    await this.#readiness.check();
  }

  async collect(liveSandboxIds: readonly string[]): Promise<void> {
    await this.#configuration.settled();
    const live = (): ReadonlySet<string> => new Set([...liveSandboxIds, ...this.#attached]);
    const list = this.#configuration.current?.list;
    const orphans = (await this.#deps.cache.list()).some((cached) => isOrphan(cached, live()));
    // To be alone, every ADD under way has to be waited for, and those to come wait too: not without a need.
    if (orphans || (list !== undefined && hasGarbageCollection(list))) {
      await this.#gate.exclusive(() => this.#collect(live()));
    }
  }

  async #collect(live: ReadonlySet<string>): Promise<void> {
    const failures: unknown[] = [];
    const list = this.#configuration.current?.list;
    const foreign: CachedAttachment[] = [];
    for (const cached of await this.#deps.cache.list()) {
      if (!cached.ours) {
        foreign.push(cached);
      } else if (isOrphan(cached, live)) {
        await this.#deleteCached(cached, "").catch((error: unknown) => failures.push(error));
      }
    }
    if (list !== undefined) {
      // Another runtime may use the same directory and, against all advice, the same network: its pods are valid too.
      const others = foreign.filter((cached) => cached.networkName === list.name);
      const valid = [
        ...[...live].map((id) => ({ containerID: id, ifname: podInterface })),
        ...others.map((cached) => ({ containerID: cached.containerId, ifname: cached.ifName })),
      ];
      failures.push(...(await collectChain(this.#chain, list, valid)));
    }
    if (failures.length > 0) {
      throw new BerthError("network-failed", `CNI garbage collection: ${failures.map(String).join("; ")}`, {
        cause: new AggregateError(failures),
      });
    }
  }

  describe(): Readonly<Record<string, string>> {
    const { current, problem } = this.#configuration;
    const found: Record<string, string> =
      current === undefined
        ? { cniProblem: problem }
        : {
            cniConfig: current.list.text,
            cniConfigFile: current.file.path,
            cniLoadedAt: current.loadedAt.toISOString(),
          };
    return this.#podCidr === "" ? found : { ...found, podCidr: this.#podCidr };
  }

  /** The address ranges are the CNI configuration's; the node's are only shown, as in every runtime without a template. */
  async setPodCidr(cidr: string): Promise<void> {
    this.#podCidr = cidr;
    this.#deps.log.info({ podCidr: cidr }, "pod CIDR noted");
  }

  async close(): Promise<void> {
    this.#configuration.close();
    await this.#readiness.close();
    await this.#gate.exclusive(async () => {});
  }
}
