import { attr, be32, nested, text } from "../link/wire.ts";
import type { Prefix } from "../spec/address.ts";
import { addressBytes, bitsOf, networkOf } from "../spec/address.ts";

// Expressions of nf_tables (linux/netfilter/nf_tables.h), as few as this plugin's rules need. Numbers in these
// messages are in network byte order; what is compared with a packet is in the packet's order.

/** 32-bit registers; a key or value of several fields lies in consecutive ones. */
export const firstRegister = 8;
const verdictRegister = 0;

export const verdicts = { drop: 0, accept: 1 } as const;
type Verdict = keyof typeof verdicts;

const operators = { equal: 0, differs: 1 } as const;
type Operator = keyof typeof operators;

const metaKeys = { priority: 2, mark: 3, iifname: 6, oifname: 7, nfproto: 15, l4proto: 16 } as const;
const IPS_DST_NAT = 0x20;
const CT_STATE_NEW = 8;
const FIB_ADDRTYPE = 3;
const FIB_DADDR = 2;
const RTN_LOCAL = 2;
const RTN_MULTICAST = 5;

function expression(name: string, ...attributes: readonly Buffer[]): Buffer {
  return nested(1, text(1, name), nested(2, ...attributes));
}

function data(type: number, value: Buffer): Buffer {
  return nested(type, attr(1, value));
}

function native32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

export function loadMeta(key: keyof typeof metaKeys, register = firstRegister): Buffer {
  return expression("meta", be32(2, metaKeys[key]), be32(1, register));
}

export function compare(operator: Operator, value: Buffer, register = firstRegister): Buffer {
  return expression("cmp", be32(1, register), be32(2, operators[operator]), data(3, value));
}

export function loadPayload(
  base: "network" | "transport",
  offset: number,
  length: number,
  register: number,
): Buffer {
  return expression(
    "payload",
    be32(1, register),
    be32(2, base === "network" ? 1 : 2),
    be32(3, offset),
    be32(4, length),
  );
}

function mask(bits: Buffer): Buffer {
  const zero = Buffer.alloc(bits.length);
  return expression(
    "bitwise",
    be32(1, firstRegister),
    be32(2, firstRegister),
    be32(3, bits.length),
    data(4, bits),
    data(5, zero),
  );
}

/** Only packets of the family go on. */
export function family(version: 4 | 6): readonly Buffer[] {
  return [loadMeta("nfproto"), compare("equal", Buffer.from([version === 4 ? 2 : 10]))];
}

export function interfaceName(
  direction: "iifname" | "oifname",
  operator: Operator,
  name: string,
): readonly Buffer[] {
  const padded = Buffer.alloc(16);
  padded.write(name);
  return [loadMeta(direction), compare(operator, padded)];
}

function prefixMask(length: number, bytes: number): Buffer {
  return Buffer.from(
    Array.from({ length: bytes }, (_, index) => {
      const bits = Math.min(8, Math.max(0, length - index * 8));
      return (0xff00 >> bits) & 0xff;
    }),
  );
}

/** Compares source or destination with a network. The family must have been checked before. */
export function network(
  side: "source" | "destination",
  operator: Operator,
  prefix: Prefix,
): readonly Buffer[] {
  const six = prefix.address.family === 6;
  const size = bitsOf(prefix.address.family) / 8;
  const offset = six ? (side === "source" ? 8 : 24) : side === "source" ? 12 : 16;
  return [
    loadPayload("network", offset, size, firstRegister),
    mask(prefixMask(prefix.length, size)),
    compare(operator, addressBytes(networkOf(prefix))),
  ];
}

/** Only packets to an address of this host. */
export function toLocalAddress(): readonly Buffer[] {
  return [
    expression("fib", be32(1, firstRegister), be32(2, FIB_ADDRTYPE), be32(3, FIB_DADDR)),
    compare("equal", native32(RTN_LOCAL)),
  ];
}

/** No multicast: it must keep its source. */
export function notMulticast(): readonly Buffer[] {
  return [
    expression("fib", be32(1, firstRegister), be32(2, FIB_ADDRTYPE), be32(3, FIB_DADDR)),
    compare("differs", native32(RTN_MULTICAST)),
  ];
}

/** Looks the key up, beginning at the first register, and puts the value there. No element: the rule ends. */
export function lookup(map: string): Buffer {
  return expression("lookup", text(1, map), be32(2, firstRegister), be32(3, firstRegister), be32(5, 0));
}

/** Membership only. */
export function member(set: string, register = firstRegister): Buffer {
  return expression("lookup", text(1, set), be32(2, register), be32(5, 0));
}

export function destinationNat(version: 4 | 6): Buffer {
  const port = firstRegister + (version === 4 ? 1 : 4);
  return expression(
    "nat",
    be32(1, 1),
    be32(2, version === 4 ? 2 : 10),
    be32(3, firstRegister),
    be32(5, port),
  );
}

/** Sets one bit of the packet mark. Uses registers behind those of a looked-up value. */
export function markPacket(bit: number): readonly Buffer[] {
  const register = firstRegister + 8;
  return [
    loadMeta("mark", register),
    expression(
      "bitwise",
      be32(1, register),
      be32(2, register),
      be32(3, 4),
      data(4, native32(~bit)),
      data(5, native32(bit)),
    ),
    expression("meta", be32(2, metaKeys.mark), be32(3, register)),
  ];
}

/** Puts what is in the first register into the packet's priority. */
export function setPriority(): Buffer {
  return expression("meta", be32(2, metaKeys.priority), be32(3, firstRegister));
}

/** The priority of a packet that nobody has given one. */
export function noPriority(): readonly Buffer[] {
  return [expression("immediate", be32(1, firstRegister), data(2, native32(0))), setPriority()];
}

export function marked(bit: number): readonly Buffer[] {
  return [loadMeta("mark"), mask(native32(bit)), compare("equal", native32(bit))];
}

/** Only connections whose destination was translated. */
export function translated(): readonly Buffer[] {
  return [
    expression("ct", be32(2, 2), be32(1, firstRegister)),
    mask(native32(IPS_DST_NAT)),
    compare("differs", native32(0)),
  ];
}

/** Only first packets: answers and what belongs to a flow pass. */
export function firstPacket(): readonly Buffer[] {
  return [
    expression("ct", be32(2, 0), be32(1, firstRegister)),
    mask(native32(CT_STATE_NEW)),
    compare("differs", native32(0)),
  ];
}

export function counter(): Buffer {
  return expression("counter", be64(1), be64(2));
}

function be64(type: number): Buffer {
  return attr(type, Buffer.alloc(8));
}

export function masquerade(): Buffer {
  return expression("masq");
}

export function verdict(name: Verdict): Buffer {
  return expression("immediate", be32(1, verdictRegister), nested(2, nested(2, be32(1, verdicts[name]))));
}
