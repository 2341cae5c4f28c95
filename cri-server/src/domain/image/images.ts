import { BerthError } from "../../errors/berth-error.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import type { Digest, ImageId } from "../../model/ids.ts";
import type { Image, ImageLease } from "../../model/image.ts";
import type { Clock } from "../../ports/clock.ts";
import type { ImageAdmin, ImageProblem } from "../../ports/image-admin.ts";
import type { ImageStore, StoredImage } from "../../ports/image-store.ts";
import type { Images, PullRequest, StoreUsage } from "../../ports/images.ts";
import type { Logger } from "../../ports/logger.ts";
import type { Registry } from "../../ports/registry.ts";
import { ImageIndex } from "./image-index.ts";
import { LayerPool } from "./layer-pool.ts";
import type { Platform } from "./manifest.ts";
import { fetchContent, recordOf, resolveImage } from "./pull.ts";
import { canonicalName, parseReference } from "./reference.ts";
import { SharedWork } from "./shared-work.ts";

/** Account files are read whole into memory; no real one comes near. */
const maxAccountFileBytes = 1024 * 1024;
const accountFiles = ["/etc/passwd", "/etc/group"] as const;

export interface ImagesDeps {
  readonly registry: Registry;
  readonly store: ImageStore;
  readonly platform: Platform;
  readonly maxConcurrentDownloads: number;
  /** Names of images that the kubelet must not collect. */
  readonly pinned: readonly string[];
  /** Tells credentials apart. */
  readonly credentialsKey: (auth: PullRequest["auth"]) => string;
  readonly readImageFiles: (
    layerDirs: readonly string[],
    paths: readonly string[],
    maxBytes: number,
  ) => Promise<readonly (Buffer | undefined)[]>;
  readonly clock: Clock;
  readonly log: Logger;
}

interface AccountFiles {
  readonly passwd: Buffer;
  readonly group: Buffer;
}

const neverAborted = new AbortController().signal;

/** The image service over a registry and a store. */
export function createImages(deps: ImagesDeps): Images & ImageAdmin {
  return new ImageService(deps);
}

/** A name, or one with `*` for any characters. */
function toPattern(text: string): RegExp {
  const name = text.includes("*") ? text : canonicalName(parseReference(text));
  const parts = name.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`);
}

class ImageService implements Images, ImageAdmin {
  readonly #deps: ImagesDeps;
  readonly #index: ImageIndex;
  readonly #pool: LayerPool;
  readonly #pulls = new SharedWork<ImageId>();
  /** One change of the records at a time: names move between images. */
  readonly #changes = new KeyedMutex();
  readonly #leases = new Map<string, ImageId>();
  readonly #accounts = new Map<ImageId, Promise<AccountFiles>>();

  constructor(deps: ImagesDeps) {
    this.#deps = deps;
    const patterns = deps.pinned.map(toPattern);
    this.#index = new ImageIndex((image) =>
      [...image.tags, ...image.digests].some((name) => patterns.some((pattern) => pattern.test(name))),
    );
    this.#pool = new LayerPool(deps);
  }

  async open(): Promise<void> {
    const { images, layers } = await this.#deps.store.load();
    for (const layer of layers) {
      this.#pool.add(layer);
    }
    // Oldest first, so that the latest pull keeps a name that two records claim (a crash between their two writes).
    const sorted = [...images].sort((a, b) => (a.pulledAt < b.pulledAt ? -1 : 1));
    for (const image of sorted) {
      for (const stripped of this.#withoutNames(image)) {
        this.#index.put(stripped);
      }
      this.#index.put(image);
    }
  }

  async pull(request: PullRequest, signal: AbortSignal = neverAborted): Promise<Image> {
    const reference = parseReference(request.reference);
    const name = canonicalName(reference);
    const key = JSON.stringify([name, this.#deps.credentialsKey(request.auth)]);
    const id = await this.#pulls.run(key, signal, async (shared) => {
      const started = performance.now();
      const repository = await this.#deps.registry.repository(reference, request.auth);
      const resolved = await resolveImage(repository, reference, this.#deps.platform, shared);
      const content = await fetchContent(repository, resolved, this.#pool, shared);
      try {
        shared.throwIfAborted();
        const config = resolved.manifest.config.digest as string as ImageId;
        await this.#change(async () => {
          await this.#put(
            recordOf(reference, resolved, content, this.#index.stored(config), this.#deps.clock.now()),
          );
        });
        const milliseconds = Math.round(performance.now() - started);
        this.#deps.log.info({ image: name, id: config, milliseconds }, "image pulled");
        return config;
      } finally {
        for (const layer of content.layers) {
          this.#pool.drop(layer.diffId);
        }
      }
    });
    const image = this.#index.find(id);
    if (image === undefined) {
      throw new BerthError("pull-failed", `${name}: the image was removed while it was pulled`);
    }
    return image;
  }

  /** Records an image and takes its names from others. The new owner is durable first: a name is never nobody's. */
  async #put(image: StoredImage): Promise<void> {
    await this.#deps.store.putImage(image);
    const losers = this.#withoutNames(image);
    for (const loser of losers) {
      await this.#deps.store.putImage(loser);
      this.#index.put(loser);
    }
    this.#index.put(image);
  }

  #withoutNames(image: StoredImage): readonly StoredImage[] {
    if (image.removed) {
      return [];
    }
    const names = new Set([...image.tags, ...image.digests]);
    const owners = new Set([...names].map((name) => this.#index.owner(name)));
    return [...owners].flatMap((id) => {
      const other = id === undefined || id === image.id ? undefined : this.#index.stored(id);
      return other === undefined
        ? []
        : [
            {
              ...other,
              tags: other.tags.filter((n) => !names.has(n)),
              digests: other.digests.filter((n) => !names.has(n)),
            },
          ];
    });
  }

  async #change<T>(work: () => Promise<T>): Promise<T> {
    return await this.#changes.run("records", work);
  }

  find(reference: string): Image | undefined {
    return this.#index.find(reference);
  }

  list(): readonly Image[] {
    return this.#index.list();
  }

  async remove(reference: string): Promise<void> {
    await this.#change(async () => {
      const image = this.#index.find(reference);
      const stored = image === undefined ? undefined : this.#index.stored(image.id);
      if (stored === undefined) {
        return;
      }
      if (this.#isLeased(stored.id)) {
        const hidden = { ...stored, tags: [], digests: [], removed: true };
        this.#index.put(hidden);
        await this.#deps.store.putImage(hidden);
      } else {
        await this.#delete(stored);
      }
      this.#deps.log.info({ image: reference, id: stored.id }, "image removed");
    });
  }

  async #delete(stored: StoredImage): Promise<void> {
    this.#index.delete(stored.id);
    this.#accounts.delete(stored.id);
    await this.#deps.store.deleteImage(stored.id);
    await this.#pool.collect(
      stored.layers.map((layer) => layer.diffId),
      (diffId: Digest) => this.#index.uses(diffId),
    );
  }

  #isLeased(id: ImageId): boolean {
    return [...this.#leases.values()].includes(id);
  }

  async lease(id: string, owner: string): Promise<ImageLease> {
    const image = this.#index.find(id);
    if (image === undefined) {
      throw new BerthError("image-not-found", `image ${JSON.stringify(id)} is not in the store`);
    }
    this.#leases.set(owner, image.id);
    const layerDirs = image.diffIds.map((diffId) => this.#deps.store.layerDir(diffId));
    try {
      return { image, layerDirs, ...(await this.#accountFiles(image.id, layerDirs)) };
    } catch (error) {
      await this.release(owner);
      throw error;
    }
  }

  async #accountFiles(id: ImageId, layerDirs: readonly string[]): Promise<AccountFiles> {
    const known = this.#accounts.get(id);
    if (known !== undefined) {
      return await known;
    }
    const reading = this.#deps
      .readImageFiles(layerDirs, accountFiles, maxAccountFileBytes)
      .then(([passwd, group]) => ({ passwd: passwd ?? Buffer.alloc(0), group: group ?? Buffer.alloc(0) }));
    this.#accounts.set(id, reading);
    reading.catch(() => this.#accounts.delete(id));
    return await reading;
  }

  async release(owner: string): Promise<void> {
    const id = this.#leases.get(owner);
    if (id === undefined) {
      return;
    }
    this.#leases.delete(owner);
    await this.#dropIfUnused(id);
  }

  async #dropIfUnused(id: ImageId): Promise<void> {
    if (this.#index.stored(id)?.removed !== true) {
      return;
    }
    await this.#change(async () => {
      const stored = this.#index.stored(id);
      if (stored?.removed === true && !this.#isLeased(id)) {
        await this.#delete(stored);
      }
    });
  }

  async retain(owners: ReadonlyMap<string, ImageId>): Promise<void> {
    this.#leases.clear();
    for (const [owner, id] of owners) {
      this.#leases.set(owner, id);
    }
    for (const stored of this.#index.all()) {
      await this.#dropIfUnused(stored.id);
    }
  }

  async verify(): Promise<readonly ImageProblem[]> {
    const problems: ImageProblem[] = [];
    for (const layer of this.#pool.all()) {
      const what = await this.#deps.store.verifyLayer(layer);
      // One that was removed meanwhile is missing by right.
      if (what !== undefined && this.#pool.get(layer.diffId) === layer) {
        const images = this.#index
          .all()
          .filter((image) => image.layers.some((one) => one.diffId === layer.diffId));
        problems.push({
          diffId: layer.diffId,
          blob: layer.blob,
          images: images.map((image) => image.id),
          what,
        });
      }
    }
    return problems;
  }

  async usage(): Promise<StoreUsage> {
    const { bytes, inodes } = this.#pool.usage;
    let used = BigInt(bytes);
    let files = BigInt(inodes);
    for (const stored of this.#index.all()) {
      used += BigInt(stored.config.length + stored.manifest.length);
      files += 1n;
    }
    return {
      mountpoint: this.#deps.store.mountpoint,
      usedBytes: used,
      usedInodes: files,
      timestamp: this.#deps.clock.now(),
    };
  }

  async close(): Promise<void> {
    await this.#deps.registry.close();
    await this.#deps.store.close();
  }
}
