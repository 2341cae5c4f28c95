import { existsSync, writeFileSync } from "node:fs";
import { errnos } from "../kernel/libc.ts";
import type { Address, Prefix } from "../spec/address.ts";
import { formatAddress, formatPrefix } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Channel } from "./channel.ts";
import { refusal } from "./channel.ts";
import type { Host, Netns, Step } from "./host.ts";
import { linkOf, runSteps } from "./host.ts";
import { macOfName } from "./names.ts";
import type { Link, RouteSpec } from "./rtnetlink.ts";
import {
  getLinkByName,
  IFF_UP,
  ifInfo,
  ifla,
  macBytes,
  newAddress,
  newRoute,
  noGeneratedAddress,
  rtm,
  setLink,
} from "./rtnetlink.ts";
import { attr, flags, nested, text, u8, u32 } from "./wire.ts";

export interface VethSpec {
  readonly hostName: string;
  readonly alias: string;
  readonly bridge: number;
  readonly podName: string;
  readonly podMac: string;
  readonly mtu: number | undefined;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  readonly ipv6: boolean;
}

function creation(spec: VethSpec, netns: Netns): Step {
  const mtu = spec.mtu === undefined ? [] : [u32(ifla.mtu, spec.mtu)];
  const peer = Buffer.concat([
    ifInfo(0),
    text(ifla.ifname, spec.podName),
    attr(ifla.address, macBytes(spec.podMac)),
    u32(ifla.netnsFd, netns.fd),
    ...mtu,
  ]);
  const body = Buffer.concat([
    ifInfo(0),
    text(ifla.ifname, spec.hostName),
    // An explicit address keeps udev from making up another one.
    attr(ifla.address, macBytes(macOfName(spec.hostName))),
    u32(ifla.master, spec.bridge),
    ...mtu,
    nested(ifla.linkInfo, text(ifla.infoKind, "veth"), nested(ifla.infoData, nested(ifla.vethPeer, peer))),
  ]);
  return {
    action: `create ${spec.podName} in ${netns.path}`,
    message: { type: rtm.newLink, flags: flags.create | flags.excl, body },
  };
}

/** Port settings come before IFF_UP, so that no packet passes under other rules. */
function hostSteps(spec: VethSpec, netns: Netns): readonly Step[] {
  const port = [
    ...(spec.hairpin ? [u8(ifla.portMode, 1)] : []),
    ...(spec.isolated ? [u8(ifla.portIsolated, 1)] : []),
  ];
  const slave = nested(
    ifla.linkInfo,
    text(ifla.infoSlaveKind, "bridge"),
    nested(ifla.infoSlaveData, ...port),
  );
  const attributes = [text(ifla.alias, spec.alias), ...(spec.ipv6 ? [noGeneratedAddress()] : [])];
  const action = `configure ${spec.hostName}`;
  return [
    creation(spec, netns),
    { action, message: setLink(spec.hostName, {}, ...attributes) },
    ...(port.length === 0
      ? []
      : [
          {
            action,
            message: {
              type: rtm.newLink,
              flags: 0,
              body: Buffer.concat([ifInfo(0), text(ifla.ifname, spec.hostName), slave]),
            },
          },
        ]),
    { action: `set ${spec.hostName} up`, message: setLink(spec.hostName, { set: IFF_UP }) },
    { action: `find ${spec.hostName}`, message: getLinkByName(spec.hostName) },
  ];
}

/** Creates the pair, the pod's end directly in its namespace under its final name. All of it in one message to the kernel. */
export async function createVeth(host: Host, spec: VethSpec, netns: Netns): Promise<Link> {
  const steps = hostSteps(spec, netns);
  const replies = await host.route.request(steps.map((step) => step.message));
  const first = replies[0];
  if (first !== undefined && first.errno === errnos.EEXIST) {
    throw new CniError(
      codes.invalidEnvironment,
      `interface ${spec.podName} exists in ${netns.path}, or ${spec.hostName} on the host`,
    );
  }
  if (first !== undefined && first.errno === errnos.EXFULL) {
    const message = `the bridge has no port left for ${spec.hostName}: the kernel gives it 1023 (BR_PORT_BITS)`;
    throw new CniError(codes.kernelRefused, message);
  }
  for (const [index, step] of steps.entries()) {
    const reply = replies[index];
    if (reply !== undefined && reply.errno !== 0) throw refusal(step.action, reply);
  }
  const link = linkOf(replies.at(-1));
  if (link === undefined) throw new CniError(codes.internal, `${spec.hostName} vanished while it was made`);
  return link;
}

export interface PodSpec {
  readonly ifName: string;
  readonly index: number;
  readonly addresses: readonly Prefix[];
  readonly routes: readonly RouteSpec[];
  readonly linkLocal: Address | undefined;
  readonly ipv6: boolean;
}

/**
 * Runs inside the pod's namespace, between two setns. Neighbours are told of the new address at once, should they know
 * another device by it. A pod without an IPv6 address gets no IPv6 on this interface: it would only listen to what
 * strangers advertise (CVE-2020-10749).
 */
function podSysctls(spec: PodSpec): void {
  const has = (family: 4 | 6): boolean => spec.addresses.some((prefix) => prefix.address.family === family);
  if (has(4)) writeFileSync(`/proc/sys/net/ipv4/conf/${spec.ifName}/arp_notify`, "1");
  const base = `/proc/sys/net/ipv6/conf/${spec.ifName}`;
  if (!existsSync(base)) return;
  if (has(6)) {
    writeFileSync(`${base}/accept_ra`, "0");
    writeFileSync(`${base}/ndisc_notify`, "1");
  }
  writeFileSync(`${base}/disable_ipv6`, has(6) ? "0" : "1");
}

function podSteps(spec: PodSpec): readonly Step[] {
  const six = spec.addresses.some((prefix) => prefix.address.family === 6);
  const local: readonly Prefix[] =
    spec.linkLocal === undefined ? [] : [{ address: spec.linkLocal, length: 64 }];
  return [
    { action: "set lo up", message: setLink(1, { set: IFF_UP }) },
    ...(six && spec.ipv6
      ? [{ action: `configure ${spec.ifName}`, message: setLink(spec.index, {}, noGeneratedAddress()) }]
      : []),
    ...[...spec.addresses, ...(six ? local : [])].map((prefix) => ({
      action: `add ${formatPrefix(prefix)} to ${spec.ifName}`,
      message: newAddress(spec.index, prefix, flags.excl),
    })),
    { action: `set ${spec.ifName} up`, message: setLink(spec.index, { set: IFF_UP }) },
    ...spec.routes.map((route) => ({
      action: `add route to ${formatPrefix(route.dst)}${route.gateway === undefined ? "" : ` by ${formatAddress(route.gateway)}`}`,
      message: newRoute(route),
    })),
  ];
}

/** Gives the pod's interface addresses and routes, and brings it and the loopback up. */
export async function configurePod(host: Host, netns: Netns, spec: PodSpec): Promise<void> {
  const channel: Channel = host.enter(netns, () => podSysctls(spec));
  try {
    await runSteps(channel, podSteps(spec));
  } finally {
    channel.close();
  }
}
