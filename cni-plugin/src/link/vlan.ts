import { errnos } from "../kernel/libc.ts";
import type { VlanConfig, VlanRange } from "../spec/vlan.ts";
import type { Host, Step } from "./host.ts";
import { ifInfo, ifla, rtm } from "./rtnetlink.ts";
import type { Message } from "./wire.ts";
import { attr, attributeList, decodeAttributes, flags, nested, text, u16 } from "./wire.ts";

// VLANs of a bridge and its ports (linux/if_bridge.h).

const AF_BRIDGE = 7;
const bridgeFlagsSelf = 2;
const info = { pvid: 2, untagged: 4, rangeBegin: 8, rangeEnd: 16 } as const;
const every: VlanRange = { first: 1, last: 4094 };

function vlanInfo(flagBits: number, vlan: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(flagBits, 0);
  bytes.writeUInt16LE(vlan, 2);
  return attr(2, bytes);
}

function rangeInfo({ first, last }: VlanRange): readonly Buffer[] {
  if (first === last) return [vlanInfo(0, first)];
  return [vlanInfo(info.rangeBegin, first), vlanInfo(info.rangeEnd, last)];
}

function bridgeMessage(type: number, index: number, ...vlans: readonly Buffer[]): Message {
  const head = ifInfo(index);
  head[0] = AF_BRIDGE;
  return { type, flags: 0, body: Buffer.concat([head, nested(ifla.afSpec, ...vlans)]) };
}

/** Steps that put a new port into its VLANs. */
export function portVlanSteps(port: string, index: number, vlan: VlanConfig): readonly Step[] {
  const action = `put ${port} into its VLANs`;
  const { access, trunk, keepDefault } = vlan;
  const wanted = [
    ...(access === undefined ? [] : [vlanInfo(info.pvid | info.untagged, access)]),
    ...trunk.flatMap(rangeInfo),
  ];
  if (wanted.length === 0) return [];
  return [
    // Whatever the bridge's default is; the kernel passes over those that the port is not in.
    ...(keepDefault ? [] : [{ action, message: bridgeMessage(rtm.delLink, index, ...rangeInfo(every)) }]),
    { action, message: bridgeMessage(rtm.setLink, index, ...wanted) },
  ];
}

/** Has a bridge look at VLANs from now on. */
export function filteringStep(bridge: string, index: number): Step {
  const data = nested(ifla.infoData, attr(ifla.bridgeVlanFiltering, Buffer.from([1])));
  const body = Buffer.concat([ifInfo(index), nested(ifla.linkInfo, text(ifla.infoKind, "bridge"), data)]);
  return { action: `have ${bridge} look at VLANs`, message: { type: rtm.newLink, flags: 0, body } };
}

/** Steps for a device of the host in a VLAN of the bridge: the device itself, and the bridge's own part in the VLAN. */
export function vlanDeviceSteps(name: string, bridge: number, vlan: number): readonly Step[] {
  const action = `create ${name}`;
  const body = Buffer.concat([
    ifInfo(0),
    text(ifla.ifname, name),
    attr(ifla.link, Buffer.from(Int32Array.of(bridge).buffer)),
    nested(ifla.linkInfo, text(ifla.infoKind, "vlan"), nested(ifla.infoData, u16(1, vlan))),
  ]);
  return [
    {
      action,
      message: { type: rtm.newLink, flags: flags.create | flags.excl, body },
      ignore: errnos.EEXIST,
    },
    { action, message: bridgeMessage(rtm.setLink, bridge, u16(0, bridgeFlagsSelf), vlanInfo(0, vlan)) },
  ];
}

const RTM_NEWVLAN = 112;
const RTM_GETVLAN = 114;

/** The VLANs that a port is in; undefined where the kernel can't tell of one port (before 5.6). */
async function vlansOf(host: Host, index: number): Promise<ReadonlySet<number> | undefined> {
  const body = Buffer.alloc(8);
  body[0] = AF_BRIDGE;
  body.writeUInt32LE(index, 4);
  const message = { type: RTM_GETVLAN, flags: 0, body };
  const parts = await host.route.dump("list VLANs", message, [errnos.EOPNOTSUPP, errnos.EINVAL]);
  if (parts === undefined) return undefined;
  const found = new Set<number>();
  for (const part of parts.filter(({ type }) => type === RTM_NEWVLAN)) {
    for (const [, entry] of attributeList(part.body, 8)) {
      const attributes = decodeAttributes(entry);
      const first = attributes.get(1)?.readUInt16LE(2) ?? 0;
      const last = attributes.get(2)?.readUInt16LE() ?? first;
      for (let vlan = first; vlan <= last; vlan++) found.add(vlan);
    }
  }
  return found;
}

/** A VLAN that the port should be in and is not; undefined when all is well. */
export async function missingVlan(host: Host, index: number, vlan: VlanConfig): Promise<number | undefined> {
  const present = await vlansOf(host, index);
  if (present === undefined) return undefined;
  const access = vlan.access === undefined ? [] : [{ first: vlan.access, last: vlan.access }];
  for (const { first, last } of [...access, ...vlan.trunk]) {
    for (let wanted = first; wanted <= last; wanted++) if (!present.has(wanted)) return wanted;
  }
  return undefined;
}
