import { BinaryWriter } from "@bufbuild/protobuf/wire";

/** Bytes of one message of a streamed list: far below what any client takes, and few messages for a full node. */
const batchBytes = 1024 * 1024;

/** Field 1, length-delimited: where each list response has its rows. */
export const rowTag = (1 << 3) | 2;

/**
 * Rows of a list response as bytes, kept as long as the record they are made of. Encoding 1,000 containers anew at each
 * relist takes ten times as long as concatenating them.
 */
export class EncodedItems<T extends object> {
  readonly #rows = new WeakMap<T, Buffer>();
  readonly #encode: (item: T) => Uint8Array;
  #last: { readonly items: readonly T[]; readonly bytes: Buffer } = { items: [], bytes: Buffer.alloc(0) };

  constructor(encode: (item: T) => Uint8Array) {
    this.#encode = encode;
  }

  /** A whole response message with these rows, not to be changed: on a node at rest it is the one before, again and again. */
  concat(items: readonly T[]): Buffer {
    const { items: before, bytes } = this.#last;
    if (items.length === before.length && items.every((item, index) => item === before[index])) {
      return bytes;
    }
    this.#last = { items, bytes: Buffer.concat(items.map((item) => this.#row(item))) };
    return this.#last.bytes;
  }

  /** The same rows as several messages, none empty and none too large; of no rows, none. */
  *batches(items: readonly T[]): Generator<Buffer> {
    let rows: Buffer[] = [];
    let bytes = 0;
    for (const item of items) {
      const row = this.#row(item);
      if (rows.length > 0 && bytes + row.length > batchBytes) {
        yield Buffer.concat(rows);
        rows = [];
        bytes = 0;
      }
      rows.push(row);
      bytes += row.length;
    }
    if (rows.length > 0) {
      yield Buffer.concat(rows);
    }
  }

  #row(item: T): Buffer {
    const known = this.#rows.get(item);
    if (known !== undefined) {
      return known;
    }
    const row = Buffer.from(new BinaryWriter().uint32(rowTag).bytes(this.#encode(item)).finish());
    this.#rows.set(item, row);
    return row;
  }
}
