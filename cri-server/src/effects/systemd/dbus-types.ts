/** A value of D-Bus. 64-bit numbers are bigints, structs and arrays are lists. */
export type DbusValue = number | bigint | boolean | string | readonly DbusValue[] | DbusVariant;

export interface DbusVariant {
  readonly signature: string;
  readonly value: DbusValue;
}

/** The complete types that a signature is made of: "sa(sv)u" is s, a(sv), u. */
export function splitSignature(signature: string): readonly string[] {
  const types: string[] = [];
  for (let at = 0; at < signature.length; ) {
    const end = endOfType(signature, at);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

function endOfType(signature: string, at: number): number {
  const first = signature[at];
  if (first === undefined) throw new Error(`D-Bus signature ${JSON.stringify(signature)} ends too early`);
  if (first === "a") return endOfType(signature, at + 1);
  if (first !== "(" && first !== "{") return at + 1;
  const close = first === "(" ? ")" : "}";
  let end = at + 1;
  while (signature[end] !== close) end = endOfType(signature, end);
  return end + 1;
}

/** Where a value of this type may start (D-Bus specification, "Marshaling"). */
export function alignmentOf(type: string): number {
  switch (type[0]) {
    case "y":
    case "g":
    case "v":
      return 1;
    case "n":
    case "q":
      return 2;
    case "x":
    case "t":
    case "d":
    case "(":
    case "{":
      return 8;
    default:
      return 4;
  }
}

/** Bytes in D-Bus's little-endian form, aligned from the first one on. */
export class DbusWriter {
  #bytes = Buffer.alloc(512);
  #length = 0;

  bytes(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  align(to: number): void {
    this.#reserve((to - (this.#length % to)) % to);
  }

  /** Values in the order of the signature's types. */
  writeAll(signature: string, values: readonly DbusValue[]): void {
    const types = splitSignature(signature);
    if (types.length !== values.length) {
      throw new Error(`D-Bus signature ${JSON.stringify(signature)} for ${values.length} values`);
    }
    for (const [index, value] of values.entries()) this.write(types[index] ?? "", value);
  }

  write(type: string, value: DbusValue): void {
    this.align(alignmentOf(type));
    switch (type[0]) {
      case "y":
        this.#bytes.writeUInt8(Number(value), this.#reserve(1));
        return;
      case "b":
      case "u":
        this.#bytes.writeUInt32LE(Number(value), this.#reserve(4));
        return;
      case "t":
        this.#bytes.writeBigUInt64LE(value as bigint, this.#reserve(8));
        return;
      case "s":
      case "o":
        this.#writeText(value as string, 4);
        return;
      case "g":
        this.#writeText(value as string, 1);
        return;
      case "v":
        this.#writeText((value as DbusVariant).signature, 1);
        this.write((value as DbusVariant).signature, (value as DbusVariant).value);
        return;
      case "(":
        this.writeAll(type.slice(1, -1), value as readonly DbusValue[]);
        return;
      case "a":
        this.#writeArray(type.slice(1), value as readonly DbusValue[]);
        return;
      default:
        throw new Error(`D-Bus type ${JSON.stringify(type)} is not written here`);
    }
  }

  #writeText(text: string, lengthBytes: 1 | 4): void {
    const bytes = Buffer.from(text);
    this.#bytes.writeUIntLE(bytes.length, this.#reserve(lengthBytes), lengthBytes);
    // The reserved byte after the text is its NUL.
    const at = this.#reserve(bytes.length + 1);
    bytes.copy(this.#bytes, at);
  }

  #writeArray(element: string, values: readonly DbusValue[]): void {
    const lengthAt = this.#reserve(4);
    // The length doesn't count the way to the first element, which is there even without one.
    this.align(alignmentOf(element));
    const start = this.#length;
    for (const value of values) this.write(element, value);
    this.#bytes.writeUInt32LE(this.#length - start, lengthAt);
  }

  /** So many zero bytes more; where they start. */
  #reserve(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(Math.max(this.#bytes.length, count))]);
    }
    return at;
  }
}

/** Reads what DbusWriter writes. A value that reaches over the end throws. */
export class DbusReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get offset(): number {
    return this.#at;
  }

  align(to: number): void {
    this.#at += (to - (this.#at % to)) % to;
  }

  readAll(signature: string): readonly DbusValue[] {
    return splitSignature(signature).map((type) => this.read(type));
  }

  read(type: string): DbusValue {
    this.align(alignmentOf(type));
    switch (type[0]) {
      case "y":
        return this.#bytes.readUInt8(this.#take(1));
      case "n":
        return this.#bytes.readInt16LE(this.#take(2));
      case "q":
        return this.#bytes.readUInt16LE(this.#take(2));
      case "b":
        return this.#bytes.readUInt32LE(this.#take(4)) !== 0;
      case "i":
        return this.#bytes.readInt32LE(this.#take(4));
      case "u":
      case "h":
        return this.#bytes.readUInt32LE(this.#take(4));
      case "x":
        return this.#bytes.readBigInt64LE(this.#take(8));
      case "t":
        return this.#bytes.readBigUInt64LE(this.#take(8));
      case "d":
        return this.#bytes.readDoubleLE(this.#take(8));
      case "s":
      case "o":
        return this.#text(this.#bytes.readUInt32LE(this.#take(4)));
      case "g":
        return this.#text(this.#bytes.readUInt8(this.#take(1)));
      case "v": {
        const signature = this.read("g") as string;
        return { signature, value: this.read(signature) };
      }
      case "(":
      case "{":
        return this.readAll(type.slice(1, -1));
      case "a":
        return this.#array(type.slice(1));
      default:
        throw new Error(`D-Bus type ${JSON.stringify(type)} is not known`);
    }
  }

  #array(element: string): readonly DbusValue[] {
    const length = this.#bytes.readUInt32LE(this.#take(4));
    this.align(alignmentOf(element));
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Error("D-Bus array reaches over its message's end");
    const values: DbusValue[] = [];
    while (this.#at < end) values.push(this.read(element));
    return values;
  }

  #text(length: number): string {
    const at = this.#take(length + 1);
    return this.#bytes.toString("utf8", at, at + length);
  }

  #take(count: number): number {
    const at = this.#at;
    this.#at += count;
    if (this.#at > this.#bytes.length) throw new Error("D-Bus value reaches over its message's end");
    return at;
  }
}
