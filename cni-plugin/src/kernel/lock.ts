import { fstatSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CniError, codes } from "../spec/errors.ts";
import { tryLock, unlock } from "./libc.ts";
import { isMissing } from "./missing.ts";

const patienceMs = 30_000;

async function openLock(path: string): Promise<FileHandle> {
  try {
    return await open(path, "a", 0o600);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    return open(path, "a", 0o600);
  }
}

/**
 * A file that processes lock by flock(2). It is asked for again and again: a wait inside the kernel would hold a pool
 * thread, and with a few of them all file work of the process. The kernel gives the lock back when the process dies.
 */
export class LockFile {
  readonly path: string;
  #file: FileHandle | undefined;

  constructor(path: string) {
    this.path = path;
  }

  async lock(mode: "shared" | "exclusive"): Promise<void> {
    const giveUpAt = Date.now() + patienceMs;
    for (let wait = 0; ; wait = Math.min(20, wait + 1)) {
      const file = await this.#open();
      if (tryLock(file.fd, mode)) return;
      if (Date.now() > giveUpAt)
        throw new CniError(codes.tryLater, `another process holds the lock ${this.path}`);
      await sleep(wait);
    }
  }

  unlock(): void {
    if (this.#file !== undefined) unlock(this.#file.fd);
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  /** The open file; another one when someone has removed it, since other processes would lock their own then. */
  async #open(): Promise<FileHandle> {
    if (this.#file !== undefined && fstatSync(this.#file.fd).nlink === 0) await this.close();
    this.#file ??= await openLock(this.path);
    return this.#file;
  }
}
