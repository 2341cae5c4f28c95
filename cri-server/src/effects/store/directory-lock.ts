import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { BerthError } from "../../errors/berth-error.ts";

const libc = koffi.load("libc.so.6");
const flock = libc.func("int flock(int fd, int operation)");
const lockExclusiveNonblocking = 2 | 4;

/**
 * Keeps a second server away from the same records and pods. The kernel lets the locks go when this process ends, however it
 * ends. The result unlocks.
 */
export function lockDirectories(directories: readonly string[]): () => void {
  const held = [...new Set(directories)].map(lockDirectory);
  return () => {
    for (const fd of held) {
      closeSync(fd);
    }
  };
}

function lockDirectory(directory: string): number {
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const path = join(directory, "lock");
  const fd = openSync(path, "a", 0o600);
  if (flock(fd, lockExclusiveNonblocking) !== 0) {
    closeSync(fd);
    throw new BerthError("already-exists", `${directory}: another berthd uses it (${path} is locked)`);
  }
  return fd;
}
