import { contains } from "../spec/address.ts";
import type { Range } from "../spec/ipam-config.ts";

/** Ranges up to this many addresses are kept as one bit for each; larger ones are never dense enough to need it. */
const bitmapLimit = 1n << 20n;

/** Which addresses of one range are taken. Finding a free one takes the same time in an empty /16 and in a full one. */
export class RangeUsage {
  readonly range: Range;
  readonly size: bigint;
  readonly #bits: Uint32Array | undefined;
  readonly #taken = new Set<bigint>();
  #used = 0;

  constructor(range: Range) {
    this.range = range;
    this.size = range.end.value - range.start.value + 1n;
    if (this.size <= bitmapLimit) {
      this.#bits = new Uint32Array(Math.ceil(Number(this.size) / 32));
      // The bits behind the last address are taken for good.
      for (let index = Number(this.size); index < this.#bits.length * 32; index++)
        this.#set(this.#bits, index);
    }
  }

  get used(): number {
    return this.#used;
  }

  #set(bits: Uint32Array, index: number): void {
    bits[index >>> 5] = (bits[index >>> 5] ?? 0) | (1 << (index & 31));
  }

  has(value: bigint): boolean {
    const offset = value - this.range.start.value;
    if (offset < 0n || offset >= this.size) return false;
    if (this.#bits === undefined) return this.#taken.has(offset);
    const index = Number(offset);
    return ((this.#bits[index >>> 5] ?? 0) & (1 << (index & 31))) !== 0;
  }

  /** Values outside of the range are ignored. */
  take(value: bigint): void {
    const offset = value - this.range.start.value;
    if (offset < 0n || offset >= this.size || this.has(value)) return;
    this.#used += 1;
    if (this.#bits === undefined) this.#taken.add(offset);
    else this.#set(this.#bits, Number(offset));
  }

  release(value: bigint): void {
    if (!this.has(value)) return;
    const offset = value - this.range.start.value;
    this.#used -= 1;
    if (this.#bits === undefined) this.#taken.delete(offset);
    else {
      const index = Number(offset);
      this.#bits[index >>> 5] = (this.#bits[index >>> 5] ?? 0) & ~(1 << (index & 31));
    }
  }

  /** The first free address at or behind `from`, not looking back to the range's start; undefined when there is none. */
  freeFrom(from: bigint): bigint | undefined {
    const { start } = this.range;
    const offset = from < start.value ? 0n : from - start.value;
    if (offset >= this.size) return undefined;
    if (this.#bits === undefined) {
      let candidate = offset;
      while (candidate < this.size && this.#taken.has(candidate)) candidate += 1n;
      return candidate < this.size ? start.value + candidate : undefined;
    }
    const index = freeBit(this.#bits, Number(offset));
    return index === undefined ? undefined : start.value + BigInt(index);
  }
}

function freeBit(bits: Uint32Array, from: number): number | undefined {
  let word = from >>> 5;
  // In the first word, what lies before `from` counts as taken.
  let inverted = ~(bits[word] ?? 0) & (-1 << (from & 31));
  while (inverted === 0) {
    word += 1;
    if (word >= bits.length) return undefined;
    inverted = ~(bits[word] ?? 0);
  }
  return word * 32 + (31 - Math.clz32(inverted & -inverted));
}

/** Whether the configuration keeps this address from pods: the gateway's and the excluded ones. */
export function isReserved(range: Range, value: bigint): boolean {
  if (value === range.gateway.value) return true;
  const address = { family: range.subnet.address.family, value };
  return range.exclude.some((prefix) => contains(prefix, address));
}
