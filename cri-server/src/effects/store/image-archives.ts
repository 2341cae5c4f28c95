import { createHash } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { ArchiveContent, ArchivedImage, ImageArchives, OpenArchive } from "../../ports/image-archive.ts";
import type { BlobSink, Descriptor, FetchedManifest, Repository } from "../../ports/registry.ts";
import { type ArchiveFiles, openArchiveFiles } from "./archive-files.ts";
import { writeArchive } from "./archive-writer.ts";

const maxDocumentBytes = 16 * 1024 * 1024;
const chunkBytes = 1024 * 1024;
const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json";

/** Archives of images: OCI layouts (image-layout.md), and what `docker save` writes. */
export class FileImageArchives implements ImageArchives {
  async open(path: string): Promise<OpenArchive> {
    const files = await openArchiveFiles(path);
    try {
      const reader = new ArchiveReader(files, path);
      await reader.read();
      return reader;
    } catch (error) {
      await files[Symbol.asyncDispose]();
      throw error;
    }
  }

  write(images: readonly ArchiveContent[]): AsyncIterable<Buffer> {
    return writeArchive(images);
  }
}

interface IndexEntry extends Descriptor {
  readonly annotations?: Readonly<Record<string, string>>;
}

interface DockerEntry {
  readonly Config: string;
  readonly RepoTags?: readonly string[] | null;
  readonly Layers: readonly string[];
}

class ArchiveReader implements OpenArchive, Repository {
  readonly #files: ArchiveFiles;
  readonly #path: string;
  readonly #images: ArchivedImage[] = [];
  /** Digest to the name that has its content. */
  readonly #names = new Map<string, string>();
  readonly #manifests = new Map<string, FetchedManifest>();

  constructor(files: ArchiveFiles, path: string) {
    this.#files = files;
    this.#path = path;
  }

  get images(): readonly ArchivedImage[] {
    return this.#images;
  }

  get identity(): string {
    return `archive ${this.#path}`;
  }

  get repository(): Repository {
    return this;
  }

  async read(): Promise<void> {
    const index = await this.#json<{ manifests?: readonly IndexEntry[] }>("index.json");
    const docker = await this.#json<readonly DockerEntry[]>("manifest.json");
    if (index !== undefined) {
      for (const entry of index.manifests ?? []) {
        const names = [
          entry.annotations?.["io.containerd.image.name"],
          entry.annotations?.["org.opencontainers.image.ref.name"],
        ];
        this.#images.push({
          names: [...new Set(names.filter((name) => name !== undefined))].slice(0, 1),
          manifest: entry.digest,
        });
        this.#manifests.set(entry.digest, await this.#fetched(entry.digest, entry.mediaType));
      }
    } else if (docker !== undefined) {
      for (const entry of docker) {
        this.#images.push({ names: entry.RepoTags ?? [], manifest: await this.#convert(entry) });
      }
    } else {
      throw this.#bad("neither index.json nor manifest.json is in it");
    }
    if (this.#images.length === 0) {
      throw this.#bad("no image is in it");
    }
  }

  /** Makes a manifest for an image of a Docker archive, whose layers are plain archives, named by a list. */
  async #convert(entry: DockerEntry): Promise<Digest> {
    const config = await this.#document(entry.Config);
    const layers: Descriptor[] = [];
    for (const name of entry.Layers) {
      const size = await this.#files.size(name);
      if (size === undefined) {
        throw this.#bad(`its layer ${name} is missing`);
      }
      const digest = await this.#hash(name, size);
      this.#names.set(digest, name);
      layers.push({ mediaType: "application/vnd.docker.image.rootfs.diff.tar", digest, size });
    }
    const configDigest = digestOf(config);
    this.#names.set(configDigest, entry.Config);
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: dockerManifest,
        config: {
          mediaType: "application/vnd.docker.container.image.v1+json",
          digest: configDigest,
          size: config.length,
        },
        layers,
      }),
    );
    const digest = digestOf(bytes);
    this.#manifests.set(digest, { digest, mediaType: dockerManifest, bytes });
    return digest;
  }

  async #hash(name: string, size: number): Promise<Digest> {
    const hash = createHash("sha256");
    for (let at = 0; at < size; at += chunkBytes) {
      hash.update(await this.#files.read(name, at, chunkBytes));
    }
    return `sha256:${hash.digest("hex")}`;
  }

  async referrers(): Promise<undefined> {
    return undefined;
  }

  async manifest(reference: string): Promise<FetchedManifest> {
    const known = this.#manifests.get(reference);
    if (known !== undefined) {
      return known;
    }
    return await this.#fetched(reference as Digest, "");
  }

  async #fetched(digest: Digest, mediaType: string): Promise<FetchedManifest> {
    const bytes = await this.#document(this.#blobName(digest));
    if (digestOf(bytes) !== digest) {
      throw this.#bad(`the content of ${digest} is another one`);
    }
    const declared = (JSON.parse(bytes.toString("utf8")) as { mediaType?: unknown }).mediaType;
    return {
      digest,
      mediaType: mediaType === "" && typeof declared === "string" ? declared : mediaType,
      bytes,
    };
  }

  async blob(descriptor: Descriptor): Promise<Buffer> {
    const bytes = await this.#document(this.#blobName(descriptor.digest));
    if (digestOf(bytes) !== descriptor.digest) {
      throw this.#bad(`the content of ${descriptor.digest} is another one`);
    }
    return bytes;
  }

  async download(descriptor: Descriptor, sink: BlobSink, signal: AbortSignal): Promise<void> {
    const name = this.#blobName(descriptor.digest);
    if ((await this.#files.size(name)) !== descriptor.size) {
      throw this.#bad(`${name} is missing or has another size than ${descriptor.size}`);
    }
    for (let at = sink.have; at < descriptor.size; at += chunkBytes) {
      signal.throwIfAborted();
      await sink.write(await this.#files.read(name, at, Math.min(chunkBytes, descriptor.size - at)), at);
    }
  }

  #blobName(digest: string): string {
    if (!/^sha256:[0-9a-f]{64}$/.test(digest)) {
      throw this.#bad(`${JSON.stringify(digest)} is not a digest`);
    }
    return this.#names.get(digest) ?? `blobs/sha256/${digest.slice("sha256:".length)}`;
  }

  async #document(name: string): Promise<Buffer> {
    const size = await this.#files.size(name);
    if (size === undefined || size > maxDocumentBytes) {
      throw this.#bad(size === undefined ? `${name} is missing` : `${name} has ${size} bytes`);
    }
    return await this.#files.read(name, 0, size);
  }

  async #json<T>(name: string): Promise<T | undefined> {
    if ((await this.#files.size(name)) === undefined) {
      return undefined;
    }
    try {
      return JSON.parse((await this.#document(name)).toString("utf8")) as T;
    } catch (cause) {
      throw new BerthError("invalid-argument", `archive ${this.#path}: ${name} is not JSON`, { cause });
    }
  }

  #bad(why: string): BerthError {
    return new BerthError("invalid-argument", `archive ${this.#path}: ${why}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files[Symbol.asyncDispose]();
  }
}

function digestOf(bytes: Buffer): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
