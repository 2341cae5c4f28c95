import { constants } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { settleAll } from "../../lib/settle-all.ts";
import type { Digest } from "../../model/ids.ts";
import type { LayerIntake, StoredLayer, UnpackResult } from "../../ports/image-store.ts";
import type { Descriptor } from "../../ports/registry.ts";
import type { Unpacker, UnpackJob } from "../layer/unpacker.ts";
import { defaultRanges } from "../registry/blob-download.ts";
import { hex, type ImageFiles, onDisk } from "./image-files.ts";

/**
 * How much of what a killed server left is there for sure: all, when the blob came in one piece; when it came in ranges,
 * what lies further before the end than any of them may run ahead. (That it is right, the digest says in the end.)
 */
function trusted(left: number, blobSize: number): number {
  if (left === blobSize || blobSize < defaultRanges.threshold) {
    return Math.min(left, blobSize);
  }
  return Math.max(0, Math.min(left, blobSize) - defaultRanges.window);
}

export interface IntakeLimits {
  readonly maxBytes: number;
  readonly maxEntries: number;
}

let counter = 0;

/** The file of a blob that is still coming. */
export function partialName(digest: Digest): string {
  return `${hex(digest)}.part`;
}

/** Gives an unpacked directory its place. */
type Publish = (result: UnpackResult, directory: string, keepDirectory: boolean) => Promise<StoredLayer>;

/** Opens the file for a layer's blob and starts to unpack what is in it already. */
export async function startIntake(
  files: ImageFiles,
  unpacker: Unpacker,
  descriptor: Descriptor,
  limits: IntakeLimits,
  publish: Publish,
): Promise<Intake> {
  return await onDisk(async () => await openIntake(files, unpacker, descriptor, limits, publish));
}

async function openIntake(
  files: ImageFiles,
  unpacker: Unpacker,
  descriptor: Descriptor,
  limits: IntakeLimits,
  publish: Publish,
): Promise<Intake> {
  counter += 1;
  const name = partialName(descriptor.digest);
  const path = join(files.ingest, name);
  const into = join("tmp", `${hex(descriptor.digest).slice(0, 24)}-${counter}`);
  const directory = join(files.layers, into);
  const opening = openPartial(path, descriptor.size);
  const making = mkdir(directory, { mode: 0o755 });
  const [{ handle, have }] = await settleAll([opening, making]).catch(async (error: unknown) => {
    await opening.then(
      async (opened) => await opened.handle.close(),
      () => {},
    );
    await rm(directory, { recursive: true, force: true });
    throw error;
  });
  const job = unpacker.unpack({ blob: join("ingest", name), into, ...limits });
  return new Intake({
    path,
    directory,
    handle,
    descriptor,
    have,
    job,
    publish,
    target: files.blob(descriptor.digest),
  });
}

/** Opens a blob's file, cut to what is surely there. Most are new, and need no second look. */
async function openPartial(path: string, blobSize: number): Promise<{ handle: FileHandle; have: number }> {
  const made = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    },
  );
  if (made !== undefined) {
    return { handle: made, have: 0 };
  }
  const handle = await open(path, constants.O_RDWR);
  try {
    const { size } = await handle.stat();
    const have = trusted(size, blobSize);
    if (have < size) {
      await handle.truncate(have);
    }
    return { handle, have };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

interface IntakeParts {
  readonly path: string;
  readonly directory: string;
  readonly target: string;
  readonly handle: FileHandle;
  readonly descriptor: Descriptor;
  readonly have: number;
  readonly job: UnpackJob;
  readonly publish: Publish;
}

/** See LayerIntake. */
export class Intake implements LayerIntake {
  readonly have: number;
  readonly unpacked: Promise<UnpackResult>;
  /** Resolves after commit or abandon. */
  readonly ended: Promise<void>;
  readonly #ended = Promise.withResolvers<void>();
  readonly #parts: IntakeParts;
  /** Written runs behind the first gap, by where they start. */
  readonly #ahead = new Map<number, number>();
  #contiguous: number;
  #arrived: number;
  #closed = false;
  #synced: Promise<void> | undefined;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
    this.have = parts.have;
    this.#contiguous = parts.have;
    this.#arrived = parts.have;
    this.unpacked = parts.job.done;
    this.ended = this.#ended.promise;
    this.#announce();
  }

  get arrived(): number {
    return this.#arrived;
  }

  async write(bytes: Buffer, position: number): Promise<void> {
    const { handle } = this.#parts;
    const { length } = bytes;
    // A regular file takes less than it was given only when the disk is full; the next write says so.
    for (let at = 0; at < length; ) {
      const { bytesWritten } = await onDisk(
        async () => await handle.write(bytes, at, length - at, position + at),
      );
      at += bytesWritten;
    }
    this.#arrived += length;
    this.#ahead.set(position, position + length);
    for (
      let end = this.#ahead.get(this.#contiguous);
      end !== undefined;
      end = this.#ahead.get(this.#contiguous)
    ) {
      this.#ahead.delete(this.#contiguous);
      this.#contiguous = end;
    }
    this.#announce();
  }

  #announce(): void {
    const { job, descriptor, handle } = this.#parts;
    if (this.#contiguous < descriptor.size) {
      job.have(this.#contiguous);
      return;
    }
    job.end(descriptor.size);
    // On its way to the disk while the rest is still being unpacked.
    this.#synced ??= handle.datasync();
    this.#synced.catch(() => {});
  }

  async commit(result: UnpackResult, keepDirectory: boolean): Promise<StoredLayer> {
    const { handle, path, target, directory, publish } = this.#parts;
    return await onDisk(async () => {
      await (this.#synced ?? handle.datasync());
      await settleAll([this.#close(), rename(path, target)]);
      const layer = await publish(result, directory, keepDirectory).catch(async (error: unknown) => {
        await rm(target, { force: true });
        throw error;
      });
      this.#ended.resolve();
      return layer;
    });
  }

  /** After a failed commit as well. */
  async abandon(keepBlob: boolean): Promise<void> {
    const { handle, path, directory, job } = this.#parts;
    job.cancel();
    await this.#synced?.catch(() => {});
    try {
      if (keepBlob && this.#contiguous > 0 && !this.#closed) {
        await handle.truncate(this.#contiguous);
      } else {
        await rm(path, { force: true });
      }
      await rm(directory, { recursive: true, force: true });
    } finally {
      await this.#close();
      this.#ended.resolve();
    }
  }

  async #close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      await this.#parts.handle.close();
    }
  }
}
