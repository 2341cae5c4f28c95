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
const growBytes = 512 * 1024;
/** Kept free for removals, which have to work on a full disk. */
const reserveBytes = 32 * 1024;
/** Rewritten when it is longer than this and than four times what lives in it. */
const compactBytes = 1024 * 1024;

interface Waiting {
  readonly change: Change;
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
  /** After a failed write nobody knows what the file holds: only a rewrite makes it trustworthy again. */
  #broken = false;

  /** `removal` makes the payload that says a key has ended. */
  constructor(path: string, removal: (key: string) => Buffer) {
    this.#path = path;
    this.#removal = removal;
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

  put(key: string, payload: Buffer): Promise<void> {
    return this.#add({ key, payload });
  }

  delete(key: string): Promise<void> {
    return this.#add({ key, payload: undefined });
  }

  /** Resolves when everything added so far is flushed and the file is closed. */
  async close(): Promise<void> {
    while (this.#flushing !== undefined) {
      await this.#flushing;
    }
    await this.#file?.close();
    this.#file = undefined;
  }

  #add(change: Change): Promise<void> {
    const settled = Promise.withResolvers<void>();
    this.#waiting.push({ change, done: settled.resolve, failed: settled.reject });
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
        await this.#flush(batch.map((waiting) => waiting.change));
        for (const waiting of batch) {
          waiting.done();
        }
      } catch (error) {
        this.#broken = true;
        for (const waiting of batch) {
          waiting.failed(error);
        }
      }
    }
    // In the same turn as the check above: a change added after it finds that it has to start a flush.
    this.#flushing = undefined;
  }

  async #flush(changes: readonly Change[]): Promise<void> {
    const frames = changes.map((change) => encodeFrame(change.payload ?? this.#removal(change.key)));
    const bytes = Buffer.concat(frames);
    const isDue = this.#end > compactBytes && this.#end > 4 * this.#liveBytes;
    if (this.#broken || isDue) {
      await this.#rewrite(changes);
      return;
    }
    const onlyRemoves = changes.every((change) => change.payload === undefined);
    await this.#makeRoom(bytes.length, onlyRemoves);
    const file = this.#opened();
    await writeAll(file, bytes, this.#end);
    await file.datasync();
    this.#end += bytes.length;
    for (const change of changes) {
      this.#apply(change);
    }
  }

  /** Extends the file ahead of need. A removal may use the reserve when the disk is full. */
  async #makeRoom(length: number, onlyRemoves: boolean): Promise<void> {
    if (this.#end + length + reserveBytes <= this.#capacity) {
      return;
    }
    const wanted = this.#end + length + growBytes;
    const file = this.#opened();
    try {
      await writeAll(file, Buffer.alloc(wanted - this.#capacity), this.#capacity);
      await file.sync();
      this.#capacity = wanted;
    } catch (error) {
      if (!onlyRemoves || this.#end + length > this.#capacity) {
        throw error;
      }
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
    await this.#file?.close();
    this.#file = file;
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
