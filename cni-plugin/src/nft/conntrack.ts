import { errnos } from "../kernel/libc.ts";
import { errnoName } from "../link/channel.ts";
import type { Host } from "../link/host.ts";
import type { Message } from "../link/wire.ts";
import { attr, attributeList, be16, decodeAttributes, nested, u8, u32 } from "../link/wire.ts";
import type { Address, Family } from "../spec/address.ts";
import { addressBytes } from "../spec/address.ts";
import { absent } from "./messages.ts";

const subsystem = 1 << 8;
const conntrack = { get: 1, delete: 2 } as const;
const AF: Readonly<Record<Family, number>> = { 4: 2, 6: 10 };

// CTA_* of linux/netfilter/nfnetlink_conntrack.h.
const cta = { original: 1, reply: 2, id: 12, filter: 25 } as const;
const filterFlags = { sourceAddress: 1, protocol: 8, destinationPort: 32 } as const;

export interface FlowFilter {
  readonly family: Family;
  readonly protocol: number;
  /** The port that the first packet went to. */
  readonly port: number;
  /** Only flows that this pod answers; undefined: whoever does. */
  readonly pod: Address | undefined;
}

function head(family: Family): Buffer {
  return Buffer.from([AF[family], 0, 0, 0]);
}

function filterAttributes(filter: FlowFilter): readonly Buffer[] {
  const { protocol, port, pod } = filter;
  const original = nested(cta.original, nested(2, u8(1, protocol), be16(3, port)));
  const answers =
    pod === undefined
      ? []
      : [nested(cta.reply, nested(1, attr(pod.family === 4 ? 1 : 3, addressBytes(pod))))];
  const masks = [
    u32(1, filterFlags.protocol | filterFlags.destinationPort),
    ...(pod === undefined ? [] : [u32(2, filterFlags.sourceAddress)]),
  ];
  return [original, ...answers, nested(cta.filter, ...masks)];
}

function message(
  kind: keyof typeof conntrack,
  extraFlags: number,
  family: Family,
  ...parts: readonly Buffer[]
): Message {
  return {
    type: subsystem | conntrack[kind],
    flags: extraFlags,
    body: Buffer.concat([head(family), ...parts]),
  };
}

/** Kernels before 6.9 delete one flow at a time; since 5.8 they list by filter. */
async function deleteOneByOne(host: Host, filter: FlowFilter): Promise<void> {
  const list = message("get", 0, filter.family, ...filterAttributes(filter));
  const dump = await host.filter.dump("list connections", list, absent);
  const deletions = (dump ?? []).flatMap((part) => {
    const attributes = decodeAttributes(part.body, 4);
    const original = attributes.get(cta.original);
    const id = attributes.get(cta.id);
    if (original === undefined || id === undefined || !fits(original, filter)) return [];
    return [message("delete", 0, filter.family, attr(cta.original | 0x8000, original), attr(cta.id, id))];
  });
  for (let at = 0; at < deletions.length; at += 64) await host.filter.request(deletions.slice(at, at + 64));
}

/** Looked at again here: a kernel that knows no filter lists everything. */
function fits(original: Buffer, filter: FlowFilter): boolean {
  const protocol = new Map(attributeList(decodeAttributes(original).get(2) ?? Buffer.alloc(0)));
  return protocol.get(1)?.[0] === filter.protocol && protocol.get(3)?.readUInt16BE() === filter.port;
}

/**
 * Forgets flows without a connection of their own. UDP has none, so a client that goes on sending from one port would
 * keep the way that was found for its first packet: to a pod that is gone, or past a pod that has come.
 */
export async function forgetFlows(host: Host, filters: readonly FlowFilter[]): Promise<void> {
  for (const filter of filters) {
    const [reply] = await host.filter.request([
      message("delete", 0, filter.family, ...filterAttributes(filter)),
    ]);
    const errno = reply?.errno ?? 0;
    if (errno === 0 || errno === errnos.ENOENT) continue;
    // Older kernels take the filter for half of a flow's description.
    if (errno === errnos.EINVAL || errnoName(errno) === "EOPNOTSUPP") await deleteOneByOne(host, filter);
  }
}
