import { trimHeap } from "./libc.ts";

const lookMs = 5000;
/** By how much the process may grow before it is worth a millisecond to look for what it no longer uses. */
const slackBytes = 4 << 20;

/**
 * Gives back the memory that the C library keeps when a burst is over: V8 compiles what has just become hot, a storm of calls
 * fills buffers, and glibc by itself returns only what lies at the very top of its heap, so that the largest burst of
 * a server's life would stay with it (mallopt(3), M_TRIM_THRESHOLD). Never keeps the process alive.
 */
export function giveBackMemory(
  residentBytes: () => number = () => process.memoryUsage.rss(),
  trim: () => void = trimHeap,
): void {
  let settled = residentBytes();
  setInterval(() => {
    const bytes = residentBytes();
    settled = Math.min(settled, bytes);
    if (bytes < settled + slackBytes) return;
    trim();
    settled = residentBytes();
  }, lookMs).unref();
}
