import { errnos } from "../kernel/libc.ts";
import type { Message } from "../link/wire.ts";
import { attr, be32, flags, nested, text } from "../link/wire.ts";

/** The one table of this plugin, of both families. */
export const tableName = "berth";

const subsystem = 10 << 8;
const NFPROTO_INET = 1;

/** Message numbers of nf_tables. */
export const nft = {
  newTable: 0,
  newChain: 3,
  getChain: 4,
  delChain: 5,
  newRule: 6,
  getRule: 7,
  delRule: 8,
  newSet: 9,
  getSet: 10,
  delSet: 11,
  newElement: 12,
  getElement: 13,
  delElement: 14,
} as const;

type Verb = keyof typeof nft;

function nfgen(family: number, resource: number): Buffer {
  const bytes = Buffer.from([family, 0, 0, 0]);
  bytes.writeUInt16BE(resource, 2);
  return bytes;
}

export const batchBegin: Message = { type: 0x10, flags: 0, body: nfgen(0, 10) };
export const batchEnd: Message = { type: 0x11, flags: 0, body: nfgen(0, 10) };

export function message(verb: Verb, extraFlags: number, ...attributes: readonly Buffer[]): Message {
  return messageOf(NFPROTO_INET, verb, extraFlags, ...attributes);
}

/** The same for a table of another family, i.e. of another program. */
export function messageOf(
  family: number,
  verb: Verb,
  extraFlags: number,
  ...attributes: readonly Buffer[]
): Message {
  return {
    type: subsystem | nft[verb],
    flags: extraFlags,
    body: Buffer.concat([nfgen(family, 0), ...attributes]),
  };
}

/** What a list of something is refused with where it isn't there, be it for want of the kernel's part for it. */
export const absent: readonly number[] = [
  errnos.ENOENT,
  errnos.EINVAL,
  errnos.EOPNOTSUPP,
  errnos.EAFNOSUPPORT,
];

/** Whether a reply's part is of this kind. */
export function isPart(type: number, verb: Verb): boolean {
  return type === (subsystem | nft[verb]);
}

/** Bytes of struct nfgenmsg before the attributes. */
export const attributesAt = 4;

function comment(words: string): Buffer {
  const bytes = Buffer.from(`${words}\0`);
  return Buffer.concat([Buffer.from([0, bytes.length]), bytes]);
}

/** A comment as the nft command stores and shows it: type 0, length, text, zero. */
export function commentAttribute(type: number, words: string): Buffer {
  return attr(type, comment(words));
}

export function parseComment(bytes: Buffer | undefined): string {
  if (bytes === undefined || bytes.length < 3 || bytes[0] !== 0) return "";
  return bytes.toString("utf8", 2, 2 + (bytes[1] ?? 0)).replace(/\0+$/, "");
}

export function newTable(): Message {
  return message(
    "newTable",
    flags.create,
    text(1, tableName),
    commentAttribute(6, "pod networks of the berth CNI plugin"),
  );
}

export interface BaseChain {
  readonly name: string;
  readonly type: "nat" | "filter";
  readonly hook: number;
  readonly priority: number;
  readonly comment: string;
  /** Made only when the kernel needs them. */
  readonly rules: () => readonly (readonly Buffer[])[];
}

export function newChain(chain: BaseChain): Message {
  return message(
    "newChain",
    flags.create,
    text(1, tableName),
    text(3, chain.name),
    nested(4, be32(1, chain.hook), be32(2, chain.priority >>> 0)),
    text(7, chain.type),
    commentAttribute(12, chain.comment),
  );
}

export function getChain(name: string): Message {
  return message("getChain", 0, text(1, tableName), text(3, name));
}

export function listChains(): Message {
  return message("getChain", 0, text(1, tableName));
}

export function deleteChain(name: string): Message {
  return message("delChain", 0, text(1, tableName), text(3, name));
}

export function flushChain(name: string): Message {
  return message("delRule", 0, text(1, tableName), text(2, name));
}

export function newRule(chain: string, expressions: readonly Buffer[]): Message {
  return message(
    "newRule",
    flags.create | flags.append,
    text(1, tableName),
    text(2, chain),
    nested(4, ...expressions),
  );
}

export interface SetSpec {
  readonly name: string;
  readonly keyType: number;
  readonly keyLength: number;
}

export interface MapSpec extends SetSpec {
  readonly dataType: number;
  readonly dataLength: number;
}

const NFT_SET_MAP = 8;

export function newSet(spec: SetSpec | MapSpec, id: number): Message {
  return message(
    "newSet",
    flags.create,
    text(1, tableName),
    text(2, spec.name),
    be32(3, "dataType" in spec ? NFT_SET_MAP : 0),
    be32(4, spec.keyType),
    be32(5, spec.keyLength),
    ...("dataType" in spec ? [be32(6, spec.dataType), be32(7, spec.dataLength)] : []),
    be32(10, id),
  );
}

/** Devices that pods are behind: bridges, and links without one. Type ifname of the nft command. */
export const deviceSet = "devices";

export function newDeviceSet(id: number): Message {
  return newSet({ name: deviceSet, keyType: 41, keyLength: 16 }, id);
}

export function deviceKey(name: string): Buffer {
  const key = Buffer.alloc(16);
  key.write(name);
  return key;
}

/** No error when it is there already. */
export function newDevice(name: string): Message {
  return message("newElement", flags.create, ...elementList(deviceSet, keyAttribute(deviceKey(name))));
}

export interface Element {
  readonly map: string;
  readonly key: Buffer;
  /** Empty in a set. */
  readonly value: Buffer;
  readonly owner: string;
}

function elementList(map: string, ...inside: readonly Buffer[]): readonly Buffer[] {
  return [text(1, tableName), text(2, map), nested(3, nested(1, ...inside))];
}

function keyAttribute(key: Buffer): Buffer {
  return nested(1, attr(1, key));
}

export function newElement(element: Element): Message {
  const { map, key, value, owner } = element;
  const data = value.length === 0 ? [] : [nested(2, attr(1, value))];
  const inside = [keyAttribute(key), ...data, commentAttribute(6, owner)];
  return message("newElement", flags.create | flags.excl, ...elementList(map, ...inside));
}

export function getElement(map: string, key: Buffer): Message {
  return message("getElement", 0, ...elementList(map, keyAttribute(key)));
}

export function deleteElement(map: string, key: Buffer): Message {
  return message("delElement", 0, ...elementList(map, keyAttribute(key)));
}

export function listElements(map: string): Message {
  return message("getElement", 0, text(1, tableName), text(2, map));
}
