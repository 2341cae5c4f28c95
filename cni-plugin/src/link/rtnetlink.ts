import type { Address, Prefix } from "../spec/address.ts";
import { addressBytes, bitsOf, networkOf } from "../spec/address.ts";
import type { ResultRoute } from "../spec/result.ts";
import type { Header, Message } from "./wire.ts";
import { attr, attributeText, decodeAttributes, flags, nested, text, u8, u32 } from "./wire.ts";

/** Message types of linux/rtnetlink.h. */
export const rtm = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  setLink: 19,
  newAddr: 20,
  delAddr: 21,
  getAddr: 22,
  newRoute: 24,
  getRoute: 26,
} as const;

/** Attributes of linux/if_link.h. */
export const ifla = {
  address: 1,
  ifname: 3,
  mtu: 4,
  link: 5,
  master: 10,
  linkInfo: 18,
  alias: 20,
  afSpec: 26,
  group: 27,
  netnsFd: 28,
  infoKind: 1,
  infoData: 2,
  infoSlaveKind: 4,
  infoSlaveData: 5,
  vethPeer: 1,
  portMode: 4,
  portIsolated: 33,
  inet6GenMode: 8,
  bridgeVlanFiltering: 7,
  bridgeDefaultPvid: 39,
} as const;

/** Links of this group wait for their end, and count for nothing any more. The number spells "bert". */
export const doomedGroup = 0x62657274;

export const AF_INET = 2;
export const AF_INET6 = 10;
export const IFF_UP = 1;
export const IFF_PROMISC = 0x100;
const GEN_MODE_NONE = 1;
const IFA_F_NODAD = 0x02;
const IFA_F_NOPREFIXROUTE = 0x200;
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RT_SCOPE_LINK = 253;

export interface LinkFlags {
  readonly set?: number;
  readonly clear?: number;
}

/** struct ifinfomsg. An index of 0 leaves it to an IFLA_IFNAME. */
export function ifInfo(index: number, change: LinkFlags = {}): Buffer {
  const bytes = Buffer.alloc(16);
  const set = change.set ?? 0;
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(set, 8);
  bytes.writeUInt32LE(set | (change.clear ?? 0), 12);
  return bytes;
}

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(":", ""), "hex");
}

/** No link-local address of the kernel's making, hence no duplicate detection and no multicast reports either. */
export function noGeneratedAddress(): Buffer {
  return nested(ifla.afSpec, nested(AF_INET6, u8(ifla.inet6GenMode, GEN_MODE_NONE)));
}

export function getLinkByName(name: string): Message {
  return { type: rtm.getLink, flags: 0, body: Buffer.concat([ifInfo(0), text(ifla.ifname, name)]) };
}

export function setLink(
  target: string | number,
  change: LinkFlags,
  ...attributes: readonly Buffer[]
): Message {
  const byName = typeof target === "string";
  const head = byName ? [ifInfo(0, change), text(ifla.ifname, target)] : [ifInfo(target, change)];
  return { type: rtm.setLink, flags: 0, body: Buffer.concat([...head, ...attributes]) };
}

/** What a GETLINK answer says of a link. */
export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly promisc: boolean;
  readonly master: number;
  /** Index of a veth's other end, in its own namespace. */
  readonly peer: number;
  readonly kind: string;
  readonly alias: string;
  readonly group: number;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  /** Of a bridge: whether it looks at VLANs; undefined where the kernel's bridges can't. */
  readonly vlanFiltering: boolean | undefined;
}

function colons(bytes: Buffer | undefined): string {
  return bytes === undefined ? "" : (bytes.toString("hex").match(/../g) ?? []).join(":");
}

/** Every kernel says whether a bridge looks at VLANs; only one that can says into which it puts new ports. */
function vlanFilteringOf(bridge: ReadonlyMap<number, Buffer>): boolean | undefined {
  if (!bridge.has(ifla.bridgeDefaultPvid)) return undefined;
  return bridge.get(ifla.bridgeVlanFiltering)?.[0] === 1;
}

export function decodeLink(header: Header): Link {
  const attributes = decodeAttributes(header.body, 16);
  const info = decodeAttributes(attributes.get(ifla.linkInfo) ?? Buffer.alloc(0));
  const port = decodeAttributes(info.get(ifla.infoSlaveData) ?? Buffer.alloc(0));
  const data = decodeAttributes(info.get(ifla.infoData) ?? Buffer.alloc(0));
  const number = (key: number): number => attributes.get(key)?.readUInt32LE() ?? 0;
  const bits = header.body.readUInt32LE(8);
  const kind = attributeText(info.get(ifla.infoKind)) ?? "";
  return {
    index: header.body.readInt32LE(4),
    name: attributeText(attributes.get(ifla.ifname)) ?? "",
    mac: colons(attributes.get(ifla.address)),
    mtu: number(ifla.mtu),
    up: (bits & IFF_UP) !== 0,
    promisc: (bits & IFF_PROMISC) !== 0,
    master: number(ifla.master),
    peer: number(ifla.link),
    kind,
    alias: attributeText(attributes.get(ifla.alias)) ?? "",
    group: number(ifla.group),
    hairpin: (port.get(ifla.portMode)?.[0] ?? 0) !== 0,
    isolated: (port.get(ifla.portIsolated)?.[0] ?? 0) !== 0,
    vlanFiltering: kind === "bridge" ? vlanFilteringOf(data) : undefined,
  };
}

function ifAddr(prefix: Prefix, index: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = prefix.address.family === 4 ? AF_INET : AF_INET6;
  bytes[1] = prefix.length;
  bytes.writeUInt32LE(index, 4);
  return bytes;
}

/**
 * RTM_NEWADDR; in IPv6 without duplicate detection, as the addresses are given out by us.
 * @param lonely: without a route to the address's network.
 */
export function newAddress(index: number, prefix: Prefix, extraFlags: number, lonely = false): Message {
  const { address, length } = prefix;
  const bytes = addressBytes(address);
  const parts = [ifAddr(prefix, index), attr(2, bytes), attr(1, bytes)];
  parts.push(u32(8, (address.family === 6 ? IFA_F_NODAD : 0) | (lonely ? IFA_F_NOPREFIXROUTE : 0)));
  if (address.family === 4 && length < 31) {
    const broadcast = networkOf(prefix).value + (1n << BigInt(bitsOf(4) - length)) - 1n;
    parts.push(attr(4, addressBytes({ family: 4, value: broadcast })));
  }
  return { type: rtm.newAddr, flags: flags.create | extraFlags, body: Buffer.concat(parts) };
}

export function deleteAddress(index: number, prefix: Prefix): Message {
  return {
    type: rtm.delAddr,
    flags: 0,
    body: Buffer.concat([ifAddr(prefix, index), attr(2, addressBytes(prefix.address))]),
  };
}

/** For a dump of the addresses of one link; the filter needs strict checks. */
export function dumpAddresses(index: number): Message {
  const body = Buffer.alloc(8);
  body.writeUInt32LE(index, 4);
  return { type: rtm.getAddr, flags: 0, body };
}

export interface LinkAddress {
  readonly index: number;
  readonly prefix: Prefix;
}

export function decodeAddress(header: Header): LinkAddress {
  const attributes = decodeAttributes(header.body, 8);
  const bytes = attributes.get(2) ?? attributes.get(1) ?? Buffer.alloc(4);
  const address: Address = {
    family: bytes.length === 4 ? 4 : 6,
    value: BigInt(`0x${bytes.toString("hex")}`),
  };
  return { index: header.body.readUInt32LE(4), prefix: { address, length: header.body[1] ?? 0 } };
}

export interface RouteSpec {
  readonly dst: Prefix;
  readonly gateway: Address | undefined;
  readonly index: number;
  readonly options: Pick<ResultRoute, "mtu" | "advmss" | "priority" | "table" | "scope">;
}

/** struct rtmsg and what identifies a route. */
function routeBody(route: RouteSpec): Buffer {
  const { dst, gateway, index, options } = route;
  const table = options.table ?? RT_TABLE_MAIN;
  const head = Buffer.alloc(12);
  head[0] = dst.address.family === 4 ? AF_INET : AF_INET6;
  head[1] = dst.length;
  head[4] = table > 255 ? 0 : table;
  head[5] = RTPROT_BOOT;
  head[6] = options.scope ?? (gateway === undefined ? RT_SCOPE_LINK : 0);
  head[7] = 1;
  const metrics = [
    ...(options.mtu === undefined ? [] : [u32(2, options.mtu)]),
    ...(options.advmss === undefined ? [] : [u32(8, options.advmss)]),
  ];
  return Buffer.concat([
    head,
    ...(dst.length === 0 ? [] : [attr(1, addressBytes(networkOf(dst)))]),
    ...(gateway === undefined ? [] : [attr(5, addressBytes(gateway))]),
    u32(4, index),
    ...(options.priority === undefined ? [] : [u32(6, options.priority)]),
    ...(metrics.length === 0 ? [] : [nested(8, ...metrics)]),
    ...(table > 255 ? [u32(15, table)] : []),
  ]);
}

export function newRoute(route: RouteSpec): Message {
  return { type: rtm.newRoute, flags: flags.create | flags.excl, body: routeBody(route) };
}

/** For a dump of all routes of a family. */
export function dumpRoutes(family: 4 | 6): Message {
  const body = Buffer.alloc(12);
  body[0] = family === 4 ? AF_INET : AF_INET6;
  return { type: rtm.getRoute, flags: 0, body };
}

export interface KernelRoute {
  readonly dst: string;
  readonly length: number;
  readonly gateway: string;
  readonly index: number;
  readonly table: number;
}

/** Addresses as hexadecimal bytes, "" for none: enough to compare. */
export function decodeRoute(header: Header): KernelRoute {
  const attributes = decodeAttributes(header.body, 12);
  return {
    dst: attributes.get(1)?.toString("hex") ?? "",
    length: header.body[1] ?? 0,
    gateway: attributes.get(5)?.toString("hex") ?? "",
    index: attributes.get(4)?.readUInt32LE() ?? 0,
    table: attributes.get(15)?.readUInt32LE() ?? header.body[4] ?? 0,
  };
}
