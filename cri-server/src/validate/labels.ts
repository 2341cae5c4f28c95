import { complain } from "./check.ts";

/** Kubernetes allows 256 KiB of annotations; this leaves room and keeps records and lists small enough to send. */
const maxBytes = 1024 * 1024;

/** A complaint about a map of labels or annotations that is too large to be kept and listed. */
export function mapSize(field: string, map: Readonly<Record<string, string>>): string | undefined {
  let bytes = 0;
  for (const [key, value] of Object.entries(map)) {
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  return bytes > maxBytes ? complain(field, bytes, `bytes in all, more than ${maxBytes}`) : undefined;
}

/** An own copy that nobody can change. */
export function copyMap(map: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.freeze(Object.fromEntries(Object.entries(map)));
}
