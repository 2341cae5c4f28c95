import { readFileSync, writeFileSync } from "node:fs";
import { errnos } from "../kernel/libc.ts";
import { isMissing } from "../kernel/missing.ts";
import type { Address, Prefix } from "../spec/address.ts";
import { formatAddress, formatPrefix } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { VlanConfig } from "../spec/vlan.ts";
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
import { portVlanSteps } from "./vlan.ts";
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
  readonly vlan: VlanConfig | undefined;
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

/** Sets what is given of a bridge port. */
export function portStep(
  name: string,
  port: { readonly hairpin?: boolean; readonly isolated?: boolean },
): Step {
  const { hairpin, isolated } = port;
  const data = [
    ...(hairpin === undefined ? [] : [u8(ifla.portMode, Number(hairpin))]),
    ...(isolated === undefined ? [] : [u8(ifla.portIsolated, Number(isolated))]),
  ];
  const slave = nested(
    ifla.linkInfo,
    text(ifla.infoSlaveKind, "bridge"),
    nested(ifla.infoSlaveData, ...data),
  );
  const body = Buffer.concat([ifInfo(0), text(ifla.ifname, name), slave]);
  return { action: `configure port ${name}`, message: { type: rtm.newLink, flags: 0, body } };
}

/** Port settings come before IFF_UP, so that no packet passes under other rules. */
function hostSteps(spec: VethSpec, netns: Netns): readonly Step[] {
  const port = { ...(spec.hairpin ? { hairpin: true } : {}), ...(spec.isolated ? { isolated: true } : {}) };
  const attributes = [text(ifla.alias, spec.alias), ...(spec.ipv6 ? [noGeneratedAddress()] : [])];
  const action = `configure ${spec.hostName}`;
  return [
    creation(spec, netns),
    { action, message: setLink(spec.hostName, {}, ...attributes) },
    ...(Object.keys(port).length === 0 ? [] : [portStep(spec.hostName, port)]),
    // VLANs need the port's number, which its first messages only ask for.
    ...(spec.vlan === undefined ? [upStep(spec)] : []),
    { action: `find ${spec.hostName}`, message: getLinkByName(spec.hostName) },
  ];
}

function upStep({ hostName }: VethSpec): Step {
  return { action: `set ${hostName} up`, message: setLink(hostName, { set: IFF_UP }) };
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
  if (spec.vlan !== undefined) {
    await runSteps(host.route, [...portVlanSteps(spec.hostName, link.index, spec.vlan), upStep(spec)]);
  }
  return link;
}

export interface PodSpec {
  readonly ifName: string;
  readonly index: number;
  readonly addresses: readonly Prefix[];
  readonly routes: readonly RouteSpec[];
  readonly linkLocal: Address | undefined;
  readonly ipv6: boolean;
  /** By withholdIpv6. */
  readonly ipv6Withheld: boolean;
  /** Everything goes by the gateway, even to pods beside this one, and stays so whatever a router advises. */
  readonly byGateway: boolean;
}

const ipv6Default = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

/**
 * Has interfaces that are made in the namespace start without IPv6, until restoreIpv6 or configurePod; false: they do so anyway. To take it
 * from one that is there, the kernel needs its lock on all links, and as long as somebody else holds that, the write
 * comes back and is repeated (restart_syscall), on this thread.
 */
export function withholdIpv6(host: Host, netns: Netns): boolean {
  return host.inside(netns, () => {
    const withheld = readSwitch(ipv6Default) === "0";
    if (withheld) writeFileSync(ipv6Default, "1");
    return withheld;
  });
}

export function restoreIpv6(host: Host, netns: Netns): void {
  host.inside(netns, () => writeFileSync(ipv6Default, "0"));
}

/** undefined: this kernel has no such thing. */
function readSwitch(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * Runs inside the pod's namespace, between two setns. Neighbours are told of the new address at once, should they know
 * another device by it. A pod without an IPv6 address gets no IPv6 on this interface: it would only listen to what
 * strangers advertise (CVE-2020-10749).
 */
function podSysctls(spec: PodSpec): void {
  if (spec.ipv6Withheld) writeFileSync(ipv6Default, "0");
  const has = (family: 4 | 6): boolean => spec.addresses.some((prefix) => prefix.address.family === family);
  if (has(4)) writeFileSync(`/proc/sys/net/ipv4/conf/${spec.ifName}/arp_notify`, "1");
  const ignoreRedirects = (folder: string): void =>
    spec.byGateway ? writeFileSync(`/proc/sys/net/${folder}/accept_redirects`, "0") : undefined;
  // IPv4 follows a redirect when either of the two says so.
  for (const name of ["all", spec.ifName]) ignoreRedirects(`ipv4/conf/${name}`);
  const base = `/proc/sys/net/ipv6/conf/${spec.ifName}`;
  const disabled = readSwitch(`${base}/disable_ipv6`);
  if (disabled === undefined) return;
  ignoreRedirects(`ipv6/conf/${spec.ifName}`);
  if (has(6)) {
    writeFileSync(`${base}/accept_ra`, "0");
    writeFileSync(`${base}/ndisc_notify`, "1");
  }
  const wanted = has(6) ? "0" : "1";
  if (disabled !== wanted) writeFileSync(`${base}/disable_ipv6`, wanted);
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
      message: newAddress(spec.index, prefix, flags.excl, spec.byGateway && prefix !== local[0]),
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
