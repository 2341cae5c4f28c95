import { BerthError } from "../../errors/berth-error.ts";
import type { Digest, ImageId } from "../../model/ids.ts";
import type { Image, ImageReference } from "../../model/image.ts";
import type { StoredImage } from "../../ports/image-store.ts";
import { parseImageConfig } from "./image-config.ts";
import { canonicalName, parseReference } from "./reference.ts";

const idDigits = /^(?:sha256:)?([0-9a-f]{12,64})$/;

interface Entry {
  readonly stored: StoredImage;
  readonly image: Image;
}

/** All images by id and by name. Removed ones that are still in use are kept, but never found. */
export class ImageIndex {
  readonly #entries = new Map<ImageId, Entry>();
  readonly #names = new Map<string, ImageId>();
  readonly #isPinned: (image: StoredImage) => boolean;

  constructor(isPinned: (image: StoredImage) => boolean) {
    this.#isPinned = isPinned;
  }

  /** Adds or replaces. The names must not belong to another image. */
  put(stored: StoredImage): Image {
    this.delete(stored.id);
    const image = toImage(stored, this.#isPinned(stored));
    this.#entries.set(stored.id, { stored, image });
    if (!stored.removed) {
      for (const name of [...stored.tags, ...stored.digests]) {
        this.#names.set(name, stored.id);
      }
    }
    return image;
  }

  delete(id: ImageId): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) {
      return;
    }
    this.#entries.delete(id);
    for (const name of [...entry.stored.tags, ...entry.stored.digests]) {
      if (this.#names.get(name) === id) {
        this.#names.delete(name);
      }
    }
  }

  stored(id: ImageId): StoredImage | undefined {
    return this.#entries.get(id)?.stored;
  }

  /** Who has this name now. */
  owner(name: string): ImageId | undefined {
    return this.#names.get(name);
  }

  list(): readonly Image[] {
    const images: Image[] = [];
    for (const { stored, image } of this.#entries.values()) {
      if (!stored.removed) {
        images.push(image);
      }
    }
    return images;
  }

  /** By id, whole or at least 12 digits of it, or by any form of a name. */
  find(text: string): Image | undefined {
    const digits = idDigits.exec(text)?.[1];
    if (digits !== undefined) {
      const found = this.#byDigits(digits);
      if (found !== undefined) {
        return found;
      }
    }
    const reference = tryParse(text);
    const id = reference === undefined ? undefined : this.#names.get(canonicalName(reference));
    return id === undefined ? undefined : this.#entries.get(id)?.image;
  }

  #byDigits(digits: string): Image | undefined {
    let found: Image | undefined;
    for (const { stored, image } of this.#entries.values()) {
      if (stored.removed || !stored.id.startsWith(`sha256:${digits}`)) {
        continue;
      }
      if (found !== undefined) {
        return undefined;
      }
      found = image;
    }
    return found;
  }

  /** Whether any image, removed or not, is made of this layer. */
  uses(diffId: Digest): boolean {
    for (const { image } of this.#entries.values()) {
      if (image.diffIds.includes(diffId)) {
        return true;
      }
    }
    return false;
  }

  /** Every record, also of removed images. */
  all(): readonly StoredImage[] {
    return [...this.#entries.values()].map((entry) => entry.stored);
  }
}

/** What is not even a name is found nowhere. */
function tryParse(text: string): ImageReference | undefined {
  try {
    return parseReference(text);
  } catch (error) {
    if (error instanceof BerthError) {
      return undefined;
    }
    throw error;
  }
}

function toImage(stored: StoredImage, pinned: boolean): Image {
  const { config, diffIds } = parseImageConfig(Buffer.from(stored.config), stored.id as Digest);
  let size = BigInt(Buffer.byteLength(stored.config));
  for (const layer of stored.layers) {
    size += BigInt(layer.descriptor.size);
  }
  return { id: stored.id, repoTags: stored.tags, repoDigests: stored.digests, size, config, diffIds, pinned };
}
