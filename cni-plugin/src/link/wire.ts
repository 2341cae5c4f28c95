/** Message flags of linux/netlink.h. */
export const flags = {
  request: 0x1,
  multi: 0x2,
  ack: 0x4,
  excl: 0x200,
  replace: 0x100,
  create: 0x400,
  append: 0x800,
  dump: 0x300,
} as const;

export const messageType = { error: 2, done: 3 } as const;

/** One request: what its header says and its body. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
}

export interface Header {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly body: Buffer;
}

const headerSize = 16;
const nestedFlag = 0x8000;
const typeMask = 0x3fff;

function align(length: number): number {
  return (length + 3) & ~3;
}

/** One attribute, padded. */
export function attr(type: number, payload: Buffer): Buffer {
  const length = 4 + payload.length;
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  payload.copy(bytes, 4);
  return bytes;
}

export function nested(type: number, ...children: readonly Buffer[]): Buffer {
  return attr(type | nestedFlag, Buffer.concat(children));
}

/** A nest without the flag, for the kernel interfaces that are older than it and compare the type. */
export function oldNested(type: number, ...children: readonly Buffer[]): Buffer {
  return attr(type, Buffer.concat(children));
}

export function u8(type: number, value: number): Buffer {
  return attr(type, Buffer.from([value]));
}

export function u16(type: number, value: number): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16LE(value);
  return attr(type, payload);
}

export function u32(type: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32LE(value);
  return attr(type, payload);
}

export function be16(type: number, value: number): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(value);
  return attr(type, payload);
}

export function be32(type: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return attr(type, payload);
}

/** A string with its terminating zero. */
export function text(type: number, value: string): Buffer {
  return attr(type, Buffer.from(`${value}\0`));
}

/** All messages in one buffer, numbered from `seq` on. */
export function encodeMessages(messages: readonly Message[], seq: number): Buffer {
  const total = messages.reduce((sum, message) => sum + align(headerSize + message.body.length), 0);
  const bytes = Buffer.alloc(total);
  let offset = 0;
  for (const [index, message] of messages.entries()) {
    const length = headerSize + message.body.length;
    bytes.writeUInt32LE(length, offset);
    bytes.writeUInt16LE(message.type, offset + 4);
    bytes.writeUInt16LE(message.flags, offset + 6);
    bytes.writeUInt32LE((seq + index) >>> 0, offset + 8);
    message.body.copy(bytes, offset + headerSize);
    offset += align(length);
  }
  return bytes;
}

/** Splits what one receive returned. A length that can't be ends it. */
export function decodeMessages(bytes: Buffer): readonly Header[] {
  const found: Header[] = [];
  let offset = 0;
  while (offset + headerSize <= bytes.length) {
    const length = bytes.readUInt32LE(offset);
    if (length < headerSize || offset + length > bytes.length) break;
    found.push({
      type: bytes.readUInt16LE(offset + 4),
      flags: bytes.readUInt16LE(offset + 6),
      seq: bytes.readUInt32LE(offset + 8),
      body: bytes.subarray(offset + headerSize, offset + length),
    });
    offset += align(length);
  }
  return found;
}

/** Attributes by type, from `offset` on; of several with one type the last. */
export function decodeAttributes(bytes: Buffer, offset = 0): ReadonlyMap<number, Buffer> {
  return new Map(attributeList(bytes, offset));
}

/** Attributes in their order, for lists whose elements share one type. */
export function attributeList(bytes: Buffer, offset = 0): readonly (readonly [number, Buffer])[] {
  const found: (readonly [number, Buffer])[] = [];
  let at = offset;
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || at + length > bytes.length) break;
    found.push([bytes.readUInt16LE(at + 2) & typeMask, bytes.subarray(at + 4, at + length)]);
    at += align(length);
  }
  return found;
}

/** A string attribute without its zero. */
export function attributeText(bytes: Buffer | undefined): string | undefined {
  return bytes?.toString("utf8").replace(/\0+$/, "");
}
