import type { FileHandle } from "node:fs/promises";
import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { encodeFrame, scanFrames } from "./frame.ts";

/** One change: the newest payload of a key, or its end. */
export type Change =
  | { readonly key: string; readonly payload: Buffer }
  | { readonly key: string; readonly payload: undefined };

/** What load() found. */
export interface JournalContent {
  readonly entries: ReadonlyMap<string, Buffer>;
  /** Damaged byte ranges that were skipped. */
  readonly damaged: readonly (readonly [number, number])[];
}

/** Room made ahead of the writing, so that a flush changes no file size. */
const growBytes = 1024 * 1024;
/** Kept free for what ends things, which has to work on a full disk. */
const reserveBytes = 256 * 1024;
/** Rewritten when it is longer than this and than four times what lives in it. */
const compactBytes = 8 * 1024 * 1024;

interface Waiting {
  readonly change: Change;
  /** A removal, or a step towards one: may use the reserve. */
  readonly frees: boolean;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/**
 * A durable map in one append-only file. A change's promise resolves after fdatasync; changes that arrive while a flush
 * runs share the next one. Each payload says its own key: `keyOf` reads it at load (undefined: not a record of ours).
 */
export class Journal {
  readonly #path: string;
  readonly #removal: (key: string) => Buffer;
  readonly #live = new Map<string, Buffer>();
  #file: FileHandle | undefined;
  #end = 0;
  #capacity = 0;
  #liveBytes = 0;
  #waiting: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  #growing: Promise<void> | undefined;
  /** After a failed write nobody knows what the file holds: only a rewrite makes it trustworthy again. */
  #broken = false;

  /** `removal` makes the payload that says a key has ended. */
  constructor(path: string, removal: (key: string) => Buffer) {
    this.#path = path;
    this.#removal = removal;
  }

  /** Bytes: up to the end of the last frame, and what lives in them. */
  get size(): { readonly written: number; readonly live: number } {
    return { written: this.#end, live: this.#liveBytes };
  }

  /** Reads and rewrites the file. `decode` tells what a payload means; payloads it can't read are left out. */
  async load(decode: (payload: Buffer) => Change | undefined): Promise<JournalContent> {
    const bytes = await readOrEmpty(this.#path);
    const scan = scanFrames(bytes);
    for (const payload of scan.payloads) {
      const change = decode(payload);
      if (change !== undefined) {
        this.#apply(change);
      }
    }
    if (scan.damaged.length > 0) {
      await copyAside(this.#path, bytes);
    }
    await this.#rewrite();
    return { entries: new Map(this.#live), damaged: scan.damaged };
  }

  /** `frees`: a step towards a removal, which has to work on a full disk too. */
  put(key: string, payload: Buffer, frees = false): Promise<void> {
    return this.#add({ key, payload }, frees);
  }

  delete(key: string): Promise<void> {
    return this.#add({ key, payload: undefined }, true);
  }

  /** Resolves when everything added so far is flushed and the file is closed. */
  async close(): Promise<void> {
    while (this.#flushing !== undefined) {
      await this.#flushing;
    }
    await this.#growing?.catch(() => undefined);
    await this.#file?.close();
    this.#file = undefined;
  }

  #add(change: Change, frees: boolean): Promise<void> {
    const settled = Promise.withResolvers<void>();
    this.#waiting.push({ change, frees, done: settled.resolve, failed: settled.reject });
    this.#flushing ??= this.#flushAll();
    return settled.promise;
  }

  async #flushAll(): Promise<void> {
    // Lets changes made in the same turn of the event loop share the first flush.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#flush(
          batch.map((waiting) => waiting.change),
          batch.every((waiting) => waiting.frees),
        );
        for (const waiting of batch) {
          waiting.done();
        }
      } catch (error) {
        this.#fail(batch, error);
      }
    }
    // In the same turn as the check above: a change added after it finds that it has to start a flush.
    this.#flushing = undefined;
  }

  /** On a full disk what frees can still be written, so that part of a batch gets a flush of its own. */
  #fail(batch: readonly Waiting[], error: unknown): void {
    const freeing = batch.filter((waiting) => waiting.frees);
    const others = batch.filter((waiting) => !waiting.frees);
    for (const waiting of others.length > 0 ? others : freeing) {
      waiting.failed(error);
    }
    if (others.length > 0) {
      this.#waiting.unshift(...freeing);
    }
  }

  async #flush(changes: readonly Change[], frees: boolean): Promise<void> {
    const frames = changes.map((change) => encodeFrame(change.payload ?? this.#removal(change.key)));
    const bytes = Buffer.concat(frames);
    if (this.#broken) {
      await this.#rewrite(changes);
      return;
    }
    if (await this.#compacts(changes)) {
      return;
    }
    await this.#makeRoom(bytes.length, frees);
    await this.#append(bytes);
    for (const change of changes) {
      this.#apply(change);
    }
  }

  /** Rewrites the file when it is due. On a full disk that fails, and the changes are appended as before. */
  async #compacts(changes: readonly Change[]): Promise<boolean> {
    if (this.#end <= compactBytes || this.#end <= 4 * this.#liveBytes) {
      return false;
    }
    try {
      await this.#rewrite(changes);
      return true;
    } catch {
      return false;
    }
  }

  async #append(bytes: Buffer): Promise<void> {
    const file = this.#opened();
    try {
      await writeAll(file, bytes, this.#end);
      await file.datasync();
    } catch (error) {
      this.#broken = true;
      throw error;
    }
    this.#end += bytes.length;
  }

  /** Waits for room only when there is none: more is made behind the flushes, while half of it is still there. */
  async #makeRoom(length: number, frees: boolean): Promise<void> {
    try {
      // More than once when the growth that was under way had been meant for less.
      while (this.#end + length + reserveBytes > this.#capacity) {
        await this.#grow(length);
      }
    } catch (error) {
      if (!frees || this.#end + length > this.#capacity) {
        throw error;
      }
    }
    if (this.#end + growBytes / 2 > this.#capacity) {
      // A failure shows again, and is reported, when the room is needed.
      this.#grow(length).catch(() => undefined);
    }
  }

  /** Extends the file by zeros that are on disk, so that later flushes need not write its size. */
  #grow(length: number): Promise<void> {
    this.#growing ??= this.#extend(this.#opened(), this.#capacity, this.#end + length + growBytes).finally(
      () => {
        this.#growing = undefined;
      },
    );
    return this.#growing;
  }

  async #extend(file: FileHandle, from: number, to: number): Promise<void> {
    await writeAll(file, Buffer.alloc(to - from), from);
    await file.sync();
    if (file === this.#file) {
      this.#capacity = to;
    }
  }

  /** Writes what lives (with `changes` in it) to a new file and puts it in the old one's place. */
  async #rewrite(changes: readonly Change[] = []): Promise<void> {
    const next = new Map(this.#live);
    for (const change of changes) {
      applyTo(next, change);
    }
    const content = Buffer.concat([...next.values()].map(encodeFrame));
    const temporary = `${this.#path}.new`;
    const file = await open(temporary, "w+", 0o600);
    const capacity = content.length + growBytes;
    try {
      await writeAll(file, Buffer.concat([content, Buffer.alloc(growBytes)]), 0);
      await file.sync();
      await rename(temporary, this.#path);
      await syncDirectory(dirname(this.#path));
    } catch (error) {
      await file.close();
      await rm(temporary, { force: true });
      throw error;
    }
    const old = this.#file;
    this.#file = file;
    await this.#growing?.catch(() => undefined);
    await old?.close();
    this.#end = content.length;
    this.#capacity = capacity;
    this.#broken = false;
    for (const change of changes) {
      this.#apply(change);
    }
  }

  #apply(change: Change): void {
    this.#liveBytes -= this.#live.get(change.key)?.length ?? 0;
    applyTo(this.#live, change);
    this.#liveBytes += change.payload?.length ?? 0;
  }

  #opened(): FileHandle {
    if (this.#file === undefined) {
      throw new Error(`journal ${this.#path} is not loaded`);
    }
    return this.#file;
  }
}

function applyTo(map: Map<string, Buffer>, change: Change): void {
  if (change.payload === undefined) {
    map.delete(change.key);
    return;
  }
  map.set(change.key, change.payload);
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const result = await file.write(bytes, written, bytes.length - written, position + written);
    written += result.bytesWritten;
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function readOrEmpty(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return Buffer.alloc(0);
    }
    throw error;
  }
}

/** Keeps a damaged journal for people; one copy only, so that it can't fill the disk. */
async function copyAside(path: string, bytes: Buffer): Promise<void> {
  const file = await open(`${path}.damaged`, "w", 0o600);
  try {
    await file.writeFile(bytes);
  } finally {
    await file.close();
  }
}
