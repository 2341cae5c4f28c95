import { errnos } from "../kernel/libc.ts";
import type { Bandwidth } from "../spec/runtime-config.ts";
import type { Host, Step } from "./host.ts";
import { linkOf, runSteps } from "./host.ts";
import type { Link } from "./rtnetlink.ts";
import { getLinkByName, IFF_UP, ifInfo, ifla, noGeneratedAddress, rtm, setLink } from "./rtnetlink.ts";
import type { Message } from "./wire.ts";
import { attr, flags, nested, oldNested, text, u32 } from "./wire.ts";

const RTM_NEWQDISC = 36;
const RTM_NEWTFILTER = 44;
const TC_H_ROOT = 0xffffffff;
const TC_H_INGRESS = 0xfffffff1;
const ingressHandle = 0xffff0000;
const tbfHandle = 0x10000;
const ETH_P_ALL = 0x0003;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;

/** Time that a packet may wait in the queue. More is only a longer way, not more throughput. */
const queueSeconds = 0.025;
/** The largest packet that the kernel hands down in one piece. */
const largestPacket = 64 << 10;
/** What runtimes send when nobody asked for a burst: half a gigabyte of it would pass before any limit holds. */
const unlimitedBits = 0x7fffffff;

/** The second device of a pod's link, through which what it sends is led; named after the first. */
export function shaperName(hostLink: string): string {
  return `shap${hostLink.slice(4)}`;
}

function shaperAlias(hostLink: string): string {
  return `berth shapes ${hostLink}`;
}

/** The link that a device with this alias shapes; undefined for another device. */
export function linkOfShaper(alias: string): string | undefined {
  return /^berth shapes (\S+)$/.exec(alias)?.[1];
}

export interface Limit {
  readonly bytesPerSecond: number;
  readonly burst: number;
}

/**
 * Rate and burst in bytes. A burst that was asked for counts, as long as it leaves the rate a limit and one packet can
 * pass; without one it is what the timer needs, and the largest packet of the kernel.
 */
export function limitOf(rateBits: number, burstBits: number | undefined, mtu: number): Limit {
  const bytesPerSecond = Math.max(1, Math.floor(rateBits / 8));
  const unasked = burstBits === undefined || burstBits >= unlimitedBits;
  const burst = unasked
    ? Math.max(bytesPerSecond / 250, largestPacket)
    : Math.min(Math.max(burstBits / 8, mtu + 100), Math.max(bytesPerSecond, largestPacket));
  return { bytesPerSecond, burst: Math.floor(burst) };
}

function tcMessage(index: number, handle: number, parent: number, info = 0): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(handle, 8);
  bytes.writeUInt32LE(parent, 12);
  bytes.writeUInt32LE(info, 16);
  return bytes;
}

/** struct tc_tbf_qopt: both rates as tc_ratespec, then limit, buffer (given as bytes beside it) and mtu. */
function tokenBucket(index: number, limit: Limit): Message {
  const options = Buffer.alloc(36);
  // TC_LINKLAYER_ETHERNET: the kernel computes the times itself and needs no table.
  options[1] = 1;
  options.writeUInt32LE(Math.min(limit.bytesPerSecond, 0xffffffff), 8);
  const queue = Math.floor(limit.bytesPerSecond * queueSeconds) + limit.burst;
  options.writeUInt32LE(Math.min(queue, 0xffffffff), 24);
  const rate64 = Buffer.alloc(8);
  rate64.writeBigUInt64LE(BigInt(limit.bytesPerSecond));
  const body = Buffer.concat([
    tcMessage(index, tbfHandle, TC_H_ROOT),
    text(1, "tbf"),
    nested(2, attr(1, options), attr(4, rate64), u32(6, limit.burst)),
  ]);
  return { type: RTM_NEWQDISC, flags: flags.create | flags.replace, body };
}

function ingressQdisc(index: number): Message {
  const body = Buffer.concat([tcMessage(index, ingressHandle, TC_H_INGRESS), text(1, "ingress")]);
  return { type: RTM_NEWQDISC, flags: flags.create | flags.excl, body };
}

/** Everything that the pod sends goes out by the other device. A u32 filter with one key that always fits: every kernel has it. */
function redirect(index: number, target: number): Message {
  const selector = Buffer.alloc(32);
  selector[0] = 1;
  selector[2] = 1;
  const action = Buffer.alloc(28);
  action.writeInt32LE(TC_ACT_STOLEN, 8);
  action.writeInt32LE(TCA_EGRESS_REDIR, 20);
  action.writeUInt32LE(target, 24);
  const priority = (1 << 16) | (((ETH_P_ALL & 0xff) << 8) | (ETH_P_ALL >> 8));
  const mirred = oldNested(1, text(1, "mirred"), oldNested(2, attr(2, action)));
  const body = Buffer.concat([
    tcMessage(index, 0, ingressHandle, priority),
    text(1, "u32"),
    oldNested(2, attr(5, selector), oldNested(7, mirred)),
  ]);
  return { type: RTM_NEWTFILTER, flags: flags.create | flags.excl, body };
}

function shaperCreation(name: string, alias: string): readonly Step[] {
  const body = Buffer.concat([
    ifInfo(0),
    text(ifla.ifname, name),
    nested(ifla.linkInfo, text(ifla.infoKind, "ifb")),
  ]);
  return [
    {
      action: `create ${name}`,
      message: { type: rtm.newLink, flags: flags.create | flags.excl, body },
      ignore: errnos.EEXIST,
    },
    { action: `configure ${name}`, message: setLink(name, {}, text(ifla.alias, alias)) },
    { action: `find ${name}`, message: getLinkByName(name) },
  ];
}

/** Limits what goes to and comes from the pod. `name`: of the device through which what it sends is led. */
export async function limitBandwidth(
  host: Host,
  link: Link,
  name: string,
  bandwidth: Bandwidth,
): Promise<void> {
  const { ingressRate, ingressBurst, egressRate, egressBurst } = bandwidth;
  if (ingressRate !== undefined) {
    const message = tokenBucket(link.index, limitOf(ingressRate, ingressBurst, link.mtu));
    await runSteps(host.route, [{ action: `limit what ${link.name} receives`, message }]);
  }
  if (egressRate === undefined) return;
  const shaper = linkOf((await runSteps(host.route, shaperCreation(name, shaperAlias(link.name)))).at(-1));
  if (shaper === undefined) return;
  const action = `limit what ${link.name} sends`;
  await runSteps(host.route, [
    // Refused where the kernel has no IPv6; then there is nothing to keep quiet.
    { action, message: setLink(shaper.index, {}, noGeneratedAddress()), ignore: errnos.EAFNOSUPPORT },
    { action, message: setLink(shaper.index, { set: IFF_UP }) },
    { action, message: tokenBucket(shaper.index, limitOf(egressRate, egressBurst, link.mtu)) },
    { action, message: ingressQdisc(link.index), ignore: errnos.EEXIST },
    { action, message: redirect(link.index, shaper.index) },
  ]);
}
