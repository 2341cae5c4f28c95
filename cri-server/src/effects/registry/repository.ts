import { createHash } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { Logger } from "../../ports/logger.ts";
import type { BlobSink, Descriptor, FetchedManifest, Repository } from "../../ports/registry.ts";
import { writeBody } from "./download.ts";
import { backoffMs, ContentFailure, HttpFailure, isTransient, pause, toBerthError } from "./failure.ts";
import type { HostClient } from "./host-client.ts";
import type { Capability } from "./hosts-toml.ts";
import { readBody } from "./transport.ts";

/** Registries refuse larger manifests themselves (distribution: 4 MiB). */
const maxManifestBytes = 8 * 1024 * 1024;
const maxSmallBlobBytes = 16 * 1024 * 1024;
/** Attempts in a row without one byte of progress. */
const maxAttempts = 5;

export interface RepositoryOptions {
  /** Shown in errors. */
  readonly name: string;
  readonly hosts: readonly HostClient[];
  /** Accept header of manifest requests. */
  readonly manifestTypes: readonly string[];
  readonly stallMs: number;
  readonly log: Logger;
}

/** A repository over its mirrors: the first host that can serve does. */
export class HttpRepository implements Repository {
  readonly #options: RepositoryOptions;

  constructor(options: RepositoryOptions) {
    this.#options = options;
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
        const bytes = await readBody(answer, maxManifestBytes);
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

  async blob(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    if (descriptor.size > maxSmallBlobBytes) {
      throw new BerthError(
        "pull-failed",
        `blob ${descriptor.digest} has ${descriptor.size} bytes, too many for its kind`,
      );
    }
    return await this.#fromAnyHost("pull", `blob ${descriptor.digest}`, signal, async (host) => {
      const answer = await host.get(`blobs/${descriptor.digest}`, { signal });
      const bytes = await readBody(answer, descriptor.size);
      if (sha256(bytes) !== descriptor.digest) {
        throw new ContentFailure(
          `the blob's content is not that of its digest, or cut short at ${bytes.length} bytes`,
        );
      }
      return bytes;
    });
  }

  async download(descriptor: Descriptor, sink: BlobSink, signal: AbortSignal): Promise<void> {
    let position = sink.have;
    let attempt = 0;
    let host = 0;
    const hosts = this.#hosts("pull");
    while (position < descriptor.size) {
      const client = hosts[Math.min(host, hosts.length - 1)];
      if (client === undefined) {
        throw this.#noHost("pull");
      }
      const before = position;
      let failure: unknown;
      try {
        const got = await this.#downloadOnce(client, descriptor, sink, position, signal);
        position = got.position;
        failure = got.failure;
      } catch (error) {
        failure = error;
      }
      signal.throwIfAborted();
      if (failure === undefined) {
        continue;
      }
      attempt = position > before ? 0 : attempt + 1;
      const next = host + 1 < hosts.length && position === before;
      if (!next && (!isTransient(failure) || attempt >= maxAttempts)) {
        throw toBerthError(`${this.#options.name}: blob ${descriptor.digest}`, client.name, failure);
      }
      this.#options.log.warn(
        { host: client.name, digest: descriptor.digest, position, err: failure },
        "a download goes on",
      );
      if (next) {
        host += 1;
        attempt = 0;
      } else {
        await pause(backoffMs(attempt, failure), signal);
      }
    }
  }

  async #downloadOnce(
    client: HostClient,
    descriptor: Descriptor,
    sink: BlobSink,
    position: number,
    signal: AbortSignal,
  ): Promise<{ position: number; failure: Error | undefined }> {
    const headers = position > 0 ? { range: `bytes=${position}-${descriptor.size - 1}` } : {};
    const answer = await client.get(`blobs/${descriptor.digest}`, { headers, signal });
    const partial = answer.statusCode === 206;
    if (partial && !(answer.headers["content-range"] ?? "").startsWith(`bytes ${position}-`)) {
      answer.destroy();
      throw new ContentFailure(
        `asked for bytes from ${position} on, got ${answer.headers["content-range"] ?? "others"}`,
      );
    }
    const length = answer.headers["content-length"];
    const expected = partial ? descriptor.size - position : descriptor.size;
    if (length !== undefined && Number(length) !== expected) {
      answer.destroy();
      throw new ContentFailure(`the blob has ${length} bytes left instead of ${expected}`);
    }
    return await writeBody(
      answer,
      sink,
      { position, end: descriptor.size, skip: partial ? 0 : position },
      this.#options.stallMs,
    );
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
    let last = this.#noHost(capability);
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
        // "Not found" of a registry says more than that its mirror can't be reached, and the other way round not.
        last = n > 0 && mine.code === "registry-unavailable" && last.code === "image-not-found" ? last : mine;
      }
    }
    throw last;
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
