/**
 * The frames that the server, the launcher and the monitors speak (native/common/wire.h): u32 length of the payload,
 * u16 type, u16 number of fds sent along, u32 request id; all little-endian.
 */
export interface Frame {
  readonly type: number;
  readonly request: number;
  readonly payload: PayloadReader;
}

const headerBytes = 12;

/** An answer may carry two outputs of an ExecSync. Anything longer is not one of our frames. */
const maxFrameBytes = 160 * 1024 * 1024;

/** Puts a payload together. Throws RangeError on what can't be encoded. */
export class PayloadWriter {
  readonly #parts: Buffer[] = [];

  /** Bytes without a length, which is known or is the rest of the payload. */
  rest(value: Uint8Array): this {
    this.#parts.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    return this;
  }

  u8(value: number): this {
    return this.rest(Uint8Array.of(value));
  }

  flag(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  u32(value: number): this {
    const part = Buffer.allocUnsafe(4);
    if (!Number.isInteger(value)) throw new RangeError(`${value} is not an unsigned 32-bit number`);
    part.writeUInt32LE(value);
    return this.rest(part);
  }

  i32(value: number): this {
    const part = Buffer.allocUnsafe(4);
    part.writeInt32LE(value);
    return this.rest(part);
  }

  u64(value: bigint): this {
    const part = Buffer.allocUnsafe(8);
    part.writeBigUInt64LE(value);
    return this.rest(part);
  }

  i64(value: bigint): this {
    const part = Buffer.allocUnsafe(8);
    part.writeBigInt64LE(value);
    return this.rest(part);
  }

  /** Length and bytes. */
  bytes(value: Uint8Array): this {
    return this.u32(value.byteLength).rest(value);
  }

  /** It is used in place (native/common/reader.h), so a NUL follows and none may be inside. */
  text(value: string, encoding: "utf8" | "latin1" = "utf8"): this {
    if (value.includes("\0")) throw new RangeError(`${JSON.stringify(value)} has a NUL character in it`);
    const part = Buffer.from(`${value}\0`, encoding);
    return this.u32(part.length - 1).rest(part);
  }

  /** A container that is there already, as monitors of every build read it. */
  id(value: string): this {
    return this.bytes(Buffer.from(value, "utf8"));
  }

  list<T>(values: readonly T[], each: (value: T) => void): this {
    this.u32(values.length);
    for (const value of values) each(value);
    return this;
  }

  texts(values: readonly string[]): this {
    return this.list(values, (value) => this.text(value));
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** Takes a payload apart. Throws RangeError when it ends too early. */
export class PayloadReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u32(): number {
    const value = this.#bytes.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  u64(): bigint {
    const value = this.#bytes.readBigUInt64LE(this.#at);
    this.#at += 8;
    return value;
  }

  bytes(): Buffer {
    const length = this.u32();
    if (length > this.#bytes.length - this.#at) throw new RangeError("a frame's payload ends too early");
    const value = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  text(): string {
    return this.bytes().toString("utf8");
  }

  /** All that has not been read. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#at);
  }
}

/** One frame as it goes over the wire. */
export function encodeFrame(type: number, request: number, payload: Buffer, fdCount = 0): Buffer {
  const frame = Buffer.allocUnsafe(headerBytes + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.writeUInt16LE(type, 4);
  frame.writeUInt16LE(fdCount, 6);
  frame.writeUInt32LE(request, 8);
  payload.copy(frame, headerBytes);
  return frame;
}

/** Finds the frames in a stream of chunks. Throws RangeError at one that can't be meant. */
export class FrameSplitter {
  #chunks: Buffer[] = [];
  #length = 0;

  /** The frames that are complete with this chunk. */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    for (;;) {
      const frame = this.#next();
      if (frame === undefined) return frames;
      frames.push(frame);
    }
  }

  #next(): Frame | undefined {
    if (this.#length < headerBytes) return undefined;
    const head = this.#head(headerBytes);
    const length = head.readUInt32LE(0);
    if (length > maxFrameBytes) throw new RangeError(`a frame of ${length} bytes`);
    const whole = headerBytes + length;
    if (this.#length < whole) return undefined;
    const bytes = this.#head(whole);
    this.#chunks[0] = bytes.subarray(whole);
    this.#length -= whole;
    return {
      type: bytes.readUInt16LE(4),
      request: bytes.readUInt32LE(8),
      payload: new PayloadReader(bytes.subarray(headerBytes, whole)),
    };
  }

  /** The first chunk, made at least so long. The chunks of a long frame are joined once, when it is complete. */
  #head(length: number): Buffer {
    const first = this.#chunks[0];
    if (first !== undefined && first.length >= length) return first;
    const joined = Buffer.concat(this.#chunks, this.#length);
    this.#chunks = [joined];
    return joined;
  }
}
