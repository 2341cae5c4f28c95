import type { DbusValue, DbusVariant } from "./dbus-types.ts";
import { DbusReader, DbusWriter } from "./dbus-types.ts";

/** One message of D-Bus. Fields that a kind of message doesn't have are "" (and 0). */
export interface DbusMessage {
  readonly kind: "call" | "return" | "error" | "signal";
  readonly serial: number;
  /** Of a return or error: the call's serial. */
  readonly replySerial: number;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly errorName: string;
  readonly destination: string;
  readonly signature: string;
  readonly body: readonly DbusValue[];
}

const kinds = ["call", "return", "error", "signal"] as const;
/** 'l': little endian. */
const littleEndian = 0x6c;
const protocolVersion = 1;
const fixedHeaderBytes = 16;
/** Answers to what is asked here have a few hundred bytes. */
const maxMessageBytes = 1 << 20;

/** Header fields: code, type (D-Bus specification, "Header Fields"). */
const fieldTypes = [
  ["path", 1, "o"],
  ["interface", 2, "s"],
  ["member", 3, "s"],
  ["errorName", 4, "s"],
  ["replySerial", 5, "u"],
  ["destination", 6, "s"],
  ["signature", 8, "g"],
] as const;

export function encodeMessage(message: DbusMessage): Buffer {
  const body = new DbusWriter();
  body.writeAll(message.signature, message.body);
  const bodyBytes = body.bytes();
  const fields = fieldTypes.flatMap(([name, code, signature]): readonly DbusValue[] => {
    const value = message[name];
    return value === "" || value === 0 ? [] : [[code, { signature, value }]];
  });
  const header = new DbusWriter();
  const kind = kinds.indexOf(message.kind) + 1;
  header.writeAll("yyyyuua(yv)", [
    littleEndian,
    kind,
    0,
    protocolVersion,
    bodyBytes.length,
    message.serial,
    fields,
  ]);
  header.align(8);
  return Buffer.concat([header.bytes(), bodyBytes]);
}

/** Cuts a stream of bytes into messages. */
export class MessageStream {
  #rest: Buffer = Buffer.alloc(0);

  /** The messages that are whole now. Throws when the peer doesn't speak D-Bus as we do. */
  push(chunk: Buffer): readonly DbusMessage[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const messages: DbusMessage[] = [];
    for (let length = this.#nextLength(); length <= this.#rest.length; length = this.#nextLength()) {
      const message = decodeMessage(this.#rest.subarray(0, length));
      if (message !== undefined) messages.push(message);
      this.#rest = this.#rest.subarray(length);
    }
    return messages;
  }

  /** How long the next message is; more than there is while that isn't known. */
  #nextLength(): number {
    const rest = this.#rest;
    if (rest.length < fixedHeaderBytes) return fixedHeaderBytes;
    if (rest[0] !== littleEndian || rest[3] !== protocolVersion) {
      throw new Error(`D-Bus message with byte order ${rest[0]} and protocol version ${rest[3]}`);
    }
    const bodyBytes = rest.readUInt32LE(4);
    const fieldBytes = rest.readUInt32LE(12);
    const length = fixedHeaderBytes + Math.ceil(fieldBytes / 8) * 8 + bodyBytes;
    if (length > maxMessageBytes) throw new Error(`D-Bus message of ${length} bytes`);
    return length;
  }
}

/** undefined: a kind of message that has to be passed over. */
function decodeMessage(bytes: Buffer): DbusMessage | undefined {
  const reader = new DbusReader(bytes);
  const [, kindNumber, , , , serial, fields] = reader.readAll("yyyyuua(yv)");
  const kind = kinds[Number(kindNumber) - 1];
  if (kind === undefined) return undefined;
  const byCode = new Map(
    (fields as readonly (readonly [number, DbusVariant])[]).map(([code, { value }]) => [code, value]),
  );
  const text = (code: number): string => String(byCode.get(code) ?? "");
  const signature = text(8);
  reader.align(8);
  return {
    kind,
    serial: Number(serial),
    replySerial: Number(byCode.get(5) ?? 0),
    path: text(1),
    interface: text(2),
    member: text(3),
    errorName: text(4),
    destination: text(6),
    signature,
    body: reader.readAll(signature),
  };
}
