import { type FileHandle, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import { settleAll } from "../../lib/settle-all.ts";
import type { Digest } from "../../model/ids.ts";

/** Where everything of images lies below the root directory. */
export class ImageFiles {
  readonly images: string;
  readonly layers: string;
  readonly records: string;
  readonly blobs: string;
  readonly ingest: string;
  readonly layerRecords: string;
  readonly trash: string;

  constructor(root: string) {
    this.images = join(root, "images");
    this.layers = join(root, "layers");
    this.records = join(this.images, "records");
    this.blobs = join(this.images, "blobs", "sha256");
    this.ingest = join(this.images, "ingest");
    this.layerRecords = join(this.layers, "records");
    this.trash = join(this.layers, "trash");
  }

  blob(digest: Digest): string {
    return join(this.blobs, hex(digest));
  }

  /** Short, so that 128 of them fit into the one page that old kernels take as mount options. */
  layer(diffId: Digest): string {
    return join(this.layers, layerKey(diffId));
  }

  layerRecord(diffId: Digest): string {
    return join(this.layerRecords, `${layerKey(diffId)}.json`);
  }

  image(id: string): string {
    return join(this.records, `${id.slice("sha256:".length)}.json`);
  }
}

export function hex(digest: Digest): string {
  return digest.slice("sha256:".length);
}

export function layerKey(diffId: Digest): string {
  return hex(diffId).slice(0, 24);
}

const full = new Set(["ENOSPC", "EDQUOT"]);

/** Runs work on the disk; a full one is an error that says so, and that the pull can act on. */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && "code" in error && full.has(String(error.code))) {
      throw new BerthError("resource-exhausted", `the disk of the images is full: ${error.message}`, {
        cause: error,
      });
    }
    throw error;
  }
}

/** A directory whose names have to be made durable often: it is kept open. */
export class DurableDirectory {
  readonly #path: string;
  #handle: FileHandle | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Once, when it is there and before it is synced: two that opened it on demand would leave one open for ever. */
  async open(): Promise<void> {
    this.#handle = await open(this.#path, "r");
  }

  /** Resolves when the names in it are durable as they are now. */
  async sync(): Promise<void> {
    if (this.#handle === undefined) throw new Error(`${this.#path} is not open`);
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }
}

/**
 * Replaces a file of `directory`: after a power cut there is the old one or the new one. Both content and name are durable when
 * resolved. `before` has to be done before anybody may see the file, and goes on beside the writing of it.
 */
export async function replaceFile(
  directory: DurableDirectory,
  path: string,
  content: string,
  before: Promise<void> = Promise.resolve(),
): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await settleAll([writeFile(temporary, content, { mode: 0o600, flush: true }), before]);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await directory.sync();
}
