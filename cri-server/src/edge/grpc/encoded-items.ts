import { BinaryWriter } from "@bufbuild/protobuf/wire";

/** Bytes of one message of a streamed list: far below what any client takes, and few messages for a full node. */
const batchBytes = 1024 * 1024;

/** Field 1, length-delimited: where each list response has its rows. */
const tag = (1 << 3) | 2;

/**
 * Rows of a list response as bytes, kept as long as the record they are made of. Encoding 1,000 containers anew at each
 * relist takes ten times as long as concatenating them.
 */
export class EncodedItems<T extends object> {
  readonly #rows = new WeakMap<T, Buffer>();
  readonly #encode: (item: T) => Uint8Array;

  constructor(encode: (item: T) => Uint8Array) {
    this.#encode = encode;
  }

  /** A whole response message with these rows. */
  concat(items: readonly T[]): Buffer {
    return Buffer.concat(items.map((item) => this.#row(item)));
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
    const row = Buffer.from(new BinaryWriter().uint32(tag).bytes(this.#encode(item)).finish());
    this.#rows.set(item, row);
    return row;
  }
}
