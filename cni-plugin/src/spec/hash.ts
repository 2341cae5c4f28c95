// FNV-1a in two lanes with different seeds. Names have to differ, not to withstand an attacker: what is hashed are ids
// that the runtime made up. node:crypto would take a tenth of a lone call's time to load.
const prime = 0x01000193;
const seeds = [0x811c9dc5, 0x3c6ef372] as const;

/** Sixteen hexadecimal digits. */
export function hashBytes(bytes: Uint8Array): string {
  let [one, two]: [number, number] = [...seeds];
  for (const byte of bytes) {
    one = Math.imul(one ^ byte, prime);
    two = Math.imul(two ^ byte ^ (one >>> 24), prime);
  }
  return [mix(one ^ (two >>> 15)), mix(two ^ one)].map((lane) => lane.toString(16).padStart(8, "0")).join("");
}

/** Spreads every bit over all others (the finalizer of MurmurHash3). */
function mix(lane: number): number {
  let value = lane;
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

/** The parts, none of which has a zero, as one hash. */
export function hashText(...parts: readonly string[]): string {
  return hashBytes(Buffer.from(parts.join("\0")));
}
