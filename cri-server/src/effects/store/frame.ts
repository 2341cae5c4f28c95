import { crc32 } from "node:zlib";

/** "BRJ1": starts each frame, so that reading can go on behind a damaged one. */
const magic = Buffer.from("BRJ1", "latin1");
const headerBytes = 12;
/** Longest payload; a longer length field is damage. */
const maxPayload = 16 * 1024 * 1024;

/** magic, length (u32 LE), CRC-32 of the payload (u32 LE), payload. */
export function encodeFrame(payload: Buffer): Buffer {
  if (payload.length > maxPayload) {
    throw new RangeError(`record of ${payload.length} bytes is longer than ${maxPayload}`);
  }
  const frame = Buffer.allocUnsafe(headerBytes + payload.length);
  magic.copy(frame, 0);
  frame.writeUInt32LE(payload.length, 4);
  frame.writeUInt32LE(crc32(payload), 8);
  payload.copy(frame, headerBytes);
  return frame;
}

/** What a journal's bytes hold. */
export interface FrameScan {
  readonly payloads: readonly Buffer[];
  /** Offset behind the last good frame: where the next one may be written. */
  readonly end: number;
  /** Byte ranges (start, end) that hold neither frames nor preallocated zeros. */
  readonly damaged: readonly (readonly [number, number])[];
}

/** Reads every whole frame, skipping over damage to the next one that checks out. */
export function scanFrames(bytes: Buffer): FrameScan {
  const payloads: Buffer[] = [];
  const damaged: (readonly [number, number])[] = [];
  let end = 0;
  let offset = 0;
  while (offset < bytes.length) {
    const payload = frameAt(bytes, offset);
    if (payload !== undefined) {
      payloads.push(payload);
      offset += headerBytes + payload.length;
      end = offset;
      continue;
    }
    const next = nextFrame(bytes, offset + 1);
    if (!isZero(bytes.subarray(offset, next))) {
      damaged.push([offset, next]);
    }
    offset = next;
  }
  const last = damaged.at(-1);
  return { payloads, end: last === undefined ? end : Math.max(end, last[1]), damaged };
}

function nextFrame(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(magic, from); at !== -1; at = bytes.indexOf(magic, at + 1)) {
    if (frameAt(bytes, at) !== undefined) {
      return at;
    }
  }
  return bytes.length;
}

function frameAt(bytes: Buffer, offset: number): Buffer | undefined {
  if (bytes.length - offset < headerBytes || bytes.compare(magic, 0, 4, offset, offset + 4) !== 0) {
    return undefined;
  }
  const length = bytes.readUInt32LE(offset + 4);
  const start = offset + headerBytes;
  if (length > maxPayload || start + length > bytes.length) {
    return undefined;
  }
  const payload = bytes.subarray(start, start + length);
  return crc32(payload) === bytes.readUInt32LE(offset + 8) ? payload : undefined;
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}
