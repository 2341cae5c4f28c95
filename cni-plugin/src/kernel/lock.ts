import type { FileHandle } from "node:fs/promises";
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CniError, codes } from "../spec/errors.ts";
import { tryLock } from "./libc.ts";

const patienceMs = 30_000;

/** A held file lock. The kernel gives it back when the process dies. */
export interface Held {
  release(): Promise<void>;
}

async function openLock(path: string): Promise<FileHandle> {
  try {
    return await open(path, "a", 0o600);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    return open(path, "a", 0o600);
  }
}

/**
 * flock(2), asked for again and again: a wait inside the kernel would hold a pool thread, and with a few of them
 * all file work of the process.
 */
export async function lockFile(path: string, mode: "shared" | "exclusive"): Promise<Held> {
  const handle = await openLock(path);
  const release = (): Promise<void> => handle.close();
  const giveUpAt = Date.now() + patienceMs;
  try {
    for (let wait = 0; !tryLock(handle.fd, mode); wait = Math.min(20, wait + 1)) {
      if (Date.now() > giveUpAt) throw new CniError(codes.tryLater, `another process holds the lock ${path}`);
      await sleep(wait);
    }
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}
