import { BerthError } from "../../errors/berth-error.ts";
import { KeyedMutex } from "../../lib/keyed-mutex.ts";
import type { Steps } from "../../lib/steps.ts";
import type { Digest, ImageId } from "../../model/ids.ts";
import type { ImageReference } from "../../model/image.ts";
import type { Clock } from "../../ports/clock.ts";
import type { ImageStore, KeptSignature, StoredImage } from "../../ports/image-store.ts";
import type { Logger } from "../../ports/logger.ts";
import type { Repository } from "../../ports/registry.ts";
import { withSignatures } from "./admission.ts";
import { ImageIndex } from "./image-index.ts";
import { LayerPool } from "./layer-pool.ts";
import type { Platform } from "./manifest.ts";
import { toPattern } from "./pattern.ts";
import { fetchContent, type ResolvedImage, recordOf, resolveImage } from "./pull.ts";
import { canonicalName, parseReference } from "./reference.ts";

export interface LibraryDeps {
  readonly store: ImageStore;
  readonly platform: Platform;
  readonly maxConcurrentDownloads: number;
  /** How long whole layers and broken downloads of failed pulls wait for the next attempt. */
  readonly idleMs: number;
  /** Names of images that the kubelet must not collect; `*` is for any characters. */
  readonly pinned: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

/** What is brought in: by which name or digest it is asked for, and the names that it gets. */
export interface Order {
  readonly ask: string;
  readonly names: readonly ImageReference[];
  /** Where the time goes. */
  readonly steps?: Steps;
  /** Called when the manifest is known, before anything large is fetched. Rejects to refuse; resolves with signatures to keep. */
  readonly admit?: (resolved: ResolvedImage, signal: AbortSignal) => Promise<readonly KeptSignature[]>;
}

/** The images of this machine: the records, their names, and the layers that they share. */
export class ImageLibrary {
  readonly #deps: LibraryDeps;
  readonly index: ImageIndex;
  readonly pool: LayerPool;
  /** One change of the records at a time: names move between images. */
  readonly #changes = new KeyedMutex();
  #sweepTimer: NodeJS.Timeout | undefined;

  constructor(deps: LibraryDeps) {
    this.#deps = deps;
    const patterns = deps.pinned.map((text) =>
      toPattern(text.includes("*") ? text : canonicalName(parseReference(text))),
    );
    this.index = new ImageIndex((image) =>
      [...image.tags, ...image.digests].some((name) => patterns.some((pattern) => pattern.test(name))),
    );
    this.pool = new LayerPool(deps);
  }

  async open(): Promise<void> {
    const { images, layers } = await this.#deps.store.load();
    for (const layer of layers) {
      this.pool.add(layer);
    }
    // Oldest first, so that the latest pull keeps a name that two records claim (a crash between their two writes).
    const sorted = [...images].sort((a, b) => (a.pulledAt < b.pulledAt ? -1 : 1));
    for (const image of sorted) {
      for (const stripped of this.#withoutNames(image)) {
        this.index.put(stripped);
      }
      this.index.put(image);
    }
  }

  /** Fetches an image and records it. What a failed attempt leaves waits for the next one, then goes. */
  async bring(repository: Repository, order: Order, signal: AbortSignal): Promise<ImageId> {
    try {
      return await this.#bring(repository, order, signal);
    } catch (error) {
      // A full disk needs the space now; after any other failure the next attempt is likely to want what there is.
      if (error instanceof BerthError && error.code === "resource-exhausted") {
        await this.#sweep(0);
      } else {
        this.#sweepLater();
      }
      throw error;
    }
  }

  async #bring(repository: Repository, order: Order, signal: AbortSignal): Promise<ImageId> {
    const resolved = await resolveImage(repository, order.ask, this.#deps.platform, signal);
    order.steps?.mark("manifest");
    const accepted = (await order.admit?.(resolved, signal)) ?? [];
    order.steps?.mark("admit");
    const id = resolved.manifest.config.digest as string as ImageId;
    if (await this.#isPresent(id, order.names, resolved, accepted)) {
      return id;
    }
    const content = await fetchContent(repository, resolved, this.pool, signal);
    order.steps?.mark("content");
    try {
      signal.throwIfAborted();
      await this.change(async () => {
        const before = this.index.stored(id);
        const signatures = withSignatures(before?.signatures, accepted);
        const now = this.#deps.clock.now();
        await this.put(recordOf(order.names, resolved, content, before, signatures, now));
      });
      order.steps?.mark("record");
      return id;
    } finally {
      for (const layer of content.layers) {
        this.pool.drop(layer.diffId);
      }
    }
  }

  /** Most pulls ask for what is here: its record needs a new name at most, and nothing has to be fetched. */
  async #isPresent(
    id: ImageId,
    names: readonly ImageReference[],
    resolved: ResolvedImage,
    accepted: readonly KeptSignature[],
  ): Promise<boolean> {
    return await this.change(async () => {
      const known = this.index.stored(id);
      if (
        known === undefined ||
        known.removed ||
        !known.layers.every(({ diffId }) => this.pool.get(diffId))
      ) {
        return false;
      }
      const content = { config: Buffer.from(known.config), layers: known.layers };
      const signatures = withSignatures(known.signatures, accepted);
      const record = recordOf(names, resolved, content, known, signatures, this.#deps.clock.now());
      if (!isSameRecord(record, known)) {
        await this.put(record);
      }
      return true;
    });
  }

  #sweepLater(): void {
    if (this.#sweepTimer !== undefined) {
      return;
    }
    this.#sweepTimer = setTimeout(() => {
      this.#sweepTimer = undefined;
      this.#sweep(this.#deps.idleMs).catch((error: unknown) => {
        this.#deps.log.warn({ err: error }, "what failed pulls left can't be removed");
      });
    }, this.#deps.idleMs);
    this.#sweepTimer.unref();
  }

  /** Removes layers that belong to no image and no pull, and downloads that nobody has gone on with for so long. */
  async #sweep(idleMs: number): Promise<void> {
    await this.pool.collect(
      this.pool.all().map((layer) => layer.diffId),
      (diffId: Digest) => this.index.uses(diffId),
    );
    await this.#deps.store.dropPartials(idleMs);
    if (idleMs === 0) {
      await this.#deps.store.emptyTrash();
    }
  }

  close(): void {
    clearTimeout(this.#sweepTimer);
  }

  /** Runs `work` alone among all changes of records. */
  async change<T>(work: () => Promise<T>): Promise<T> {
    return await this.#changes.run("records", work);
  }

  /** Records an image and takes its names from others. The new owner is durable first: a name is never nobody's. */
  async put(image: StoredImage): Promise<void> {
    await this.#deps.store.putImage(image);
    for (const loser of this.#withoutNames(image)) {
      await this.#deps.store.putImage(loser);
      this.index.put(loser);
    }
    this.index.put(image);
  }

  #withoutNames(image: StoredImage): readonly StoredImage[] {
    if (image.removed) {
      return [];
    }
    const names = new Set([...image.tags, ...image.digests]);
    const owners = new Set([...names].map((name) => this.index.owner(name)));
    return [...owners].flatMap((id) => {
      const other = id === undefined || id === image.id ? undefined : this.index.stored(id);
      return other === undefined
        ? []
        : [
            {
              ...other,
              tags: other.tags.filter((name) => !names.has(name)),
              digests: other.digests.filter((name) => !names.has(name)),
            },
          ];
    });
  }

  /** Invisible when resolved; the space is freed behind. */
  async delete(stored: StoredImage): Promise<void> {
    this.index.delete(stored.id);
    await this.#deps.store.deleteImage(stored.id);
    await this.pool.collect(
      stored.layers.map((layer) => layer.diffId),
      (diffId: Digest) => this.index.uses(diffId),
    );
  }
}

/** Whether two records of one image say the same, but for when it was pulled. */
function isSameRecord(one: StoredImage, other: StoredImage): boolean {
  const text = ({ pulledAt: _, ...rest }: StoredImage): string => JSON.stringify(rest);
  return text(one) === text(other);
}
