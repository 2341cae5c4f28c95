/** An answer that is made of one record alone, as bytes that are kept as long as the record: it is replaced when it changes. */
export class EncodedAnswer<T extends object> {
  readonly #known = new WeakMap<T, Buffer>();
  readonly #encode: (record: T) => Uint8Array;

  constructor(encode: (record: T) => Uint8Array) {
    this.#encode = encode;
  }

  of(record: T): Buffer {
    const known = this.#known.get(record);
    if (known !== undefined) return known;
    const bytes = Buffer.from(this.#encode(record));
    this.#known.set(record, bytes);
    return bytes;
  }
}
