import type { NetworkStatus } from "../../model/network.ts";
import { type ChainDeps, hasStatus, statusOfChain } from "./chain.ts";
import type { Configuration, LoadedNetwork } from "./configuration.ts";

/** How often plugins are asked: soon again while they are not ready, and as often as a kubelet asks us when they are. */
const intervalMs = { ready: 5000, notReady: 1000 } as const;

function notReady(message: string): NetworkStatus {
  return { ready: false, reason: "NetworkPluginNotReady", message };
}

/** Keeps the answer to "is the network ready" in memory, so that Status never waits for a plugin. */
export class Readiness {
  readonly #configuration: Configuration;
  readonly #chain: ChainDeps;
  #verdict: NetworkStatus = notReady("the network has not been checked yet");
  #checked: LoadedNetwork | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(configuration: Configuration, chain: ChainDeps) {
    this.#configuration = configuration;
    this.#chain = chain;
  }

  get status(): NetworkStatus {
    const { current, problem } = this.#configuration;
    if (current === undefined) {
      return notReady(problem);
    }
    if (current === this.#checked) {
      return this.#verdict;
    }
    // Its first check is under way. Without STATUS that is a look for programs, and takes milliseconds; with it, a network
    // that was ready stays so meanwhile: a node must not become NotReady because its configuration was replaced.
    return !hasStatus(current.list) || this.#verdict.ready
      ? { ready: true }
      : notReady(`CNI network ${current.list.name} is being checked for the first time`);
  }

  /** Checks now (after the check under way), and from then on periodically. Resolves when this check is done. */
  async check(): Promise<void> {
    clearTimeout(this.#timer);
    this.#running = this.#running.then(() => this.#checkOnce());
    await this.#running;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #checkOnce(): Promise<void> {
    const { current } = this.#configuration;
    if (current === undefined || this.#closed) {
      return;
    }
    const verdict = await this.#ask(current);
    if (!verdict.ready && (this.#checked !== current || this.#verdict.ready)) {
      this.#chain.log.warn({ network: current.list.name, reason: verdict.message }, "pod network not ready");
    } else if (verdict.ready && (this.#checked !== current || !this.#verdict.ready)) {
      this.#chain.log.info({ network: current.list.name }, "pod network ready");
    }
    this.#verdict = verdict;
    this.#checked = current;
    if (!this.#closed && (!verdict.ready || hasStatus(current.list))) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(
        () => void this.check(),
        verdict.ready ? intervalMs.ready : intervalMs.notReady,
      );
      this.#timer.unref();
    }
  }

  async #ask(network: LoadedNetwork): Promise<NetworkStatus> {
    const { runner } = this.#chain;
    try {
      const missing = await runner.missing(network.list.plugins.map((plugin) => plugin.type));
      if (missing.length > 0) {
        return notReady(`CNI plugin ${missing.join(", ")} is in none of ${runner.searched.join(", ")}`);
      }
      await statusOfChain(this.#chain, network.list);
      return { ready: true };
    } catch (error) {
      return notReady(error instanceof Error ? error.message : String(error));
    }
  }
}
