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

/** Puts a payload together. */
export class PayloadWriter {
  readonly #parts: Buffer[] = [];

  u32(value: number): this {
    const part = Buffer.allocUnsafe(4);
    part.writeUInt32LE(value);
    this.#parts.push(part);
    return this;
  }

  u64(value: bigint): this {
    const part = Buffer.allocUnsafe(8);
    part.writeBigUInt64LE(value);
    this.#parts.push(part);
    return this;
  }

  /** Length and bytes. */
  bytes(value: Buffer): this {
    this.u32(value.length);
    this.#parts.push(value);
    return this;
  }

  text(value: string): this {
    return this.bytes(Buffer.from(value, "utf8"));
  }

  texts(values: readonly string[]): this {
    this.u32(values.length);
    for (const value of values) this.text(value);
    return this;
  }

  /** Bytes without a length: the rest of the payload. */
  rest(value: Buffer): this {
    this.#parts.push(value);
    return this;
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
