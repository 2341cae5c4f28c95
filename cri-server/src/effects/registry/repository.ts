import { createHash } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { Logger } from "../../ports/logger.ts";
import type { BlobSink, Descriptor, FetchedManifest, Repository } from "../../ports/registry.ts";
import type { DownloadMeter } from "../../ports/telemetry.ts";
import { BlobDownload, defaultRanges, type RangePlan } from "./blob-download.ts";
import { backoffMs, ContentFailure, HttpFailure, isTransient, pause, toBerthError } from "./failure.ts";
import type { HostClient } from "./host-client.ts";
import type { Capability } from "./hosts-toml.ts";
import { readBody } from "./transport.ts";

/** Registries refuse larger manifests themselves (distribution: 4 MiB). */
const maxManifestBytes = 8 * 1024 * 1024;
const maxSmallBlobBytes = 16 * 1024 * 1024;
const indexType = "application/vnd.oci.image.index.v1+json";
/** What registries say that were made before there was a list of referrers. */
const notKnown = new Set([400, 404, 405, 406]);
/** Of one question. */
const maxAttempts = 5;

export interface RepositoryOptions {
  /** Shown in errors. */
  readonly name: string;
  readonly identity: string;
  readonly hosts: readonly HostClient[];
  /** Accept header of manifest requests. */
  readonly manifestTypes: readonly string[];
  readonly stallMs: number;
  readonly ranges?: RangePlan;
  readonly meter: DownloadMeter | undefined;
  readonly log: Logger;
}

/** A repository over its mirrors: the first host that can serve does. */
export class HttpRepository implements Repository {
  readonly #options: RepositoryOptions;

  constructor(options: RepositoryOptions) {
    this.#options = options;
  }

  get identity(): string {
    return this.#options.identity;
  }

  async manifest(reference: string, signal: AbortSignal): Promise<FetchedManifest> {
    const byDigest = reference.startsWith("sha256:");
    return await this.#fromAnyHost(
      byDigest ? "pull" : "resolve",
      `manifest ${reference}`,
      signal,
      async (host) => {
        const accept = this.#options.manifestTypes.join(", ");
        const answer = await host.get(`manifests/${reference}`, { headers: { accept }, signal });
        const bytes = await readBody(answer, maxManifestBytes, this.#options.stallMs);
        const digest = sha256(bytes);
        const promised = byDigest ? reference : answer.headers["docker-content-digest"];
        if (promised !== undefined && promised !== digest) {
          throw new ContentFailure(`the manifest has the digest ${digest} instead of ${String(promised)}`);
        }
        const mediaType = (answer.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
        return { digest, mediaType, bytes };
      },
    );
  }

  async referrers(digest: Digest, signal: AbortSignal): Promise<Buffer | undefined> {
    try {
      return await this.#fromAnyHost(
        "resolve",
        `referrers of ${digest}`,
        signal,
        async (host) => await this.#referrersAt(host, digest, signal),
      );
    } catch (error) {
      if (error instanceof BerthError && error.code === "image-not-found") {
        return undefined;
      }
      throw error;
    }
  }

  /** A mirror that knows no such list must not speak for the host behind it, which is why that is a failure here. */
  async #referrersAt(host: HostClient, digest: Digest, signal: AbortSignal): Promise<Buffer> {
    try {
      const answer = await host.get(`referrers/${digest}`, { headers: { accept: indexType }, signal });
      const bytes = await readBody(answer, maxManifestBytes, this.#options.stallMs);
      if (answer.headers["content-type"]?.startsWith(indexType) !== true) {
        throw new HttpFailure(
          404,
          `something else than a list: ${answer.headers["content-type"] ?? "no type"}`,
        );
      }
      return bytes;
    } catch (error) {
      throw error instanceof HttpFailure && notKnown.has(error.status)
        ? new HttpFailure(404, error.message)
        : error;
    }
  }

  async blob(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    if (descriptor.size > maxSmallBlobBytes) {
      throw new BerthError(
        "pull-failed",
        `blob ${descriptor.digest} has ${descriptor.size} bytes, too many for its kind`,
      );
    }
    return await this.#fromAnyHost("pull", `blob ${descriptor.digest}`, signal, async (host) => {
      const answer = await host.get(`blobs/${descriptor.digest}`, { signal });
      const bytes = await readBody(answer, descriptor.size, this.#options.stallMs);
      if (sha256(bytes) !== descriptor.digest) {
        throw new ContentFailure(
          `the blob's content is not that of its digest, or cut short at ${bytes.length} bytes`,
        );
      }
      return bytes;
    });
  }

  async download(descriptor: Descriptor, sink: BlobSink, signal: AbortSignal): Promise<void> {
    const { name, stallMs, log, meter, ranges = defaultRanges } = this.#options;
    const hosts = this.#hosts("pull");
    if (hosts.length === 0) {
      throw this.#noHost("pull");
    }
    await new BlobDownload({ name, hosts, descriptor, sink, stallMs, ranges, meter, log }).run(signal);
  }

  #hosts(capability: Capability): readonly HostClient[] {
    return this.#options.hosts.filter((client) => client.host.capabilities.includes(capability));
  }

  #noHost(capability: Capability): BerthError {
    return new BerthError(
      "pull-failed",
      `${this.#options.name}: no host is configured with the capability ${capability}`,
    );
  }

  /** Mirrors get one try each, the last host has all the patience. */
  async #fromAnyHost<T>(
    capability: Capability,
    what: string,
    signal: AbortSignal,
    work: (host: HostClient) => Promise<T>,
  ): Promise<T> {
    const hosts = this.#hosts(capability);
    let last: BerthError | undefined;
    for (const [n, host] of hosts.entries()) {
      try {
        return await this.#patiently(
          n === hosts.length - 1 ? maxAttempts : 1,
          signal,
          async () => await work(host),
        );
      } catch (error) {
        signal.throwIfAborted();
        const mine = toBerthError(`${this.#options.name}: ${what}`, host.name, error);
        this.#options.log.debug({ host: host.name, what, err: error }, "a host can't serve");
        if (n < hosts.length - 1) {
          this.#options.meter?.retried();
        }
        // "Not found" of a registry says more than that its mirror can't be reached, and the other way round not.
        last =
          n > 0 && mine.code === "registry-unavailable" && last?.code === "image-not-found" ? last : mine;
      }
    }
    throw last ?? this.#noHost(capability);
  }

  async #patiently<T>(attempts: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        signal.throwIfAborted();
        if (attempt >= attempts || !isTransient(error) || isHopeless(error)) {
          throw error;
        }
        this.#options.meter?.retried();
        await pause(backoffMs(attempt, error), signal);
      }
    }
  }
}

const hopeless = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/** Nothing listens there, or nobody knows where: waiting a second changes nothing, and the kubelet comes back by itself. */
function isHopeless(error: unknown): boolean {
  return (
    !(error instanceof HttpFailure) &&
    error instanceof Error &&
    "code" in error &&
    hopeless.has(String(error.code))
  );
}

function sha256(bytes: Buffer): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
