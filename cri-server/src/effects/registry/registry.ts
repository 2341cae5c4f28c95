import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import { settleAll } from "../../lib/settle-all.ts";
import type { ImageReference } from "../../model/image.ts";
import type { PullAuth } from "../../ports/images.ts";
import type { Logger } from "../../ports/logger.ts";
import type { Registry, Repository } from "../../ports/registry.ts";
import type { DownloadMeter } from "../../ports/telemetry.ts";
import { credentialsKey, isAnonymous, TokenCache } from "./auth.ts";
import { type AskHelper, ownCredentials } from "./auth-file.ts";
import type { RangePlan } from "./blob-download.ts";
import { HostClient } from "./host-client.ts";
import { defaultServer, hostsWithout, parseHosts, type RegistryHost } from "./hosts-toml.ts";
import { HttpRepository } from "./repository.ts";
import { readTls, Transport } from "./transport.ts";

export interface HttpRegistryOptions {
  readonly certsDir: string;
  readonly stallTimeoutSeconds: number;
  /** Credentials of the runtime itself; "" none. Used for a pull that brings none. */
  readonly authFile: string;
  readonly askHelper: AskHelper;
  readonly manifestTypes: readonly string[];
  readonly ranges?: RangePlan;
  /** Missing: nobody counts. */
  readonly meter?: DownloadMeter | undefined;
  readonly log: Logger;
}

/** Registries over HTTP, configured by hosts.toml files that are read afresh for each pull. */
export class HttpRegistry implements Registry {
  readonly #options: HttpRegistryOptions;
  readonly #transport = new Transport();
  readonly #tokens = new TokenCache();

  constructor(options: HttpRegistryOptions) {
    this.#options = options;
  }

  async repository(reference: ImageReference, given: PullAuth | undefined): Promise<Repository> {
    const [auth, { hosts, directory }] = await settleAll([
      isAnonymous(given) ? this.#own(reference) : Promise.resolve(given),
      this.#configured(reference.registry),
    ]);
    const { stallTimeoutSeconds, manifestTypes, ranges, meter, log } = this.#options;
    const home = new URL(defaultServer(reference.registry)).host;
    const clients = await Promise.all(
      hosts.map(async (host) => {
        const name = new URL(host.baseUrl).host;
        return new HostClient({
          transport: this.#transport,
          tokens: this.#tokens,
          host,
          tls: await this.#tls(host, directory, reference.registry),
          repository: reference.repository,
          namespace: name === home ? "" : reference.registry,
          auth: suits(auth, name, reference.registry) ? auth : undefined,
          answerTimeoutMs: stallTimeoutSeconds * 1000,
        });
      }),
    );
    const name = `${reference.registry}/${reference.repository}`;
    return new HttpRepository({
      name,
      identity: `${name} ${credentialsKey(auth)}`,
      hosts: clients,
      manifestTypes,
      stallMs: stallTimeoutSeconds * 1000,
      meter,
      log,
      ...(ranges === undefined ? {} : { ranges }),
    });
  }

  async #own(reference: ImageReference): Promise<PullAuth | undefined> {
    const { authFile, askHelper } = this.#options;
    return authFile === "" ? undefined : await ownCredentials(authFile, reference, askHelper);
  }

  async #tls(
    host: RegistryHost,
    directory: string,
    registry: string,
  ): Promise<Awaited<ReturnType<typeof readTls>>> {
    try {
      return await readTls(host, directory);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      throw new BerthError(
        "pull-failed",
        `registry ${registry}: a file of hosts.toml can't be read: ${message}`,
        { cause },
      );
    }
  }

  async #configured(registry: string): Promise<{ hosts: readonly RegistryHost[]; directory: string }> {
    const places = [registry, "_default"].map((name) => {
      const directory = join(this.#options.certsDir, name);
      return { directory, reading: readHosts(directory) };
    });
    for (const { reading } of places) {
      // Read at the same time; but what is wrong with the second matters only without the first.
      reading.catch(() => {});
    }
    for (const { directory, reading } of places) {
      const text = await reading;
      if (text === undefined) {
        continue;
      }
      const path = hostsPath(directory);
      try {
        return { hosts: parseHosts(text, registry), directory };
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        throw new BerthError("pull-failed", `${path}: ${message}`, { cause });
      }
    }
    return { hosts: hostsWithout(registry), directory: this.#options.certsDir };
  }

  async close(): Promise<void> {
    this.#transport.close();
  }
}

function hostsPath(directory: string): string {
  return join(directory, "hosts.toml");
}

/** undefined when there is none. */
async function readHosts(directory: string): Promise<string | undefined> {
  const path = hostsPath(directory);
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) {
      return undefined;
    }
    throw new BerthError("pull-failed", `${path} can't be read`, { cause: error });
  }
}

/** Credentials that name a server are for that one alone; the others go to every host of the registry. */
function suits(auth: PullAuth | undefined, host: string, registry: string): boolean {
  const address = auth?.serverAddress ?? "";
  if (address === "") {
    return true;
  }
  const named = URL.parse(/^https?:\/\//.test(address) ? address : `https://${address}`)?.host;
  const hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
  return named === host || named === registry || (registry === "docker.io" && hub.includes(named ?? ""));
}
