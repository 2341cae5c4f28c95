import { readdir, readFile, writeFile } from "node:fs/promises";
import { errnos } from "../kernel/libc.ts";
import type { Prefix } from "../spec/address.ts";
import { contains, formatPrefix } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { VlanConfig } from "../spec/vlan.ts";
import type { Host, Step } from "./host.ts";
import { linkOf, runSteps } from "./host.ts";
import { linkLocalOf, macOfAddress, macOfName } from "./names.ts";
import type { Link } from "./rtnetlink.ts";
import {
  decodeAddress,
  deleteAddress,
  dumpAddresses,
  getLinkByName,
  IFF_PROMISC,
  IFF_UP,
  ifInfo,
  ifla,
  macBytes,
  newAddress,
  noGeneratedAddress,
  rtm,
  setLink,
} from "./rtnetlink.ts";
import { filteringStep, vlanDeviceSteps } from "./vlan.ts";
import { attr, flags, nested, text, u32 } from "./wire.ts";

export interface BridgeSpec {
  readonly name: string;
  readonly mtu: number | undefined;
  readonly promisc: boolean;
  readonly vlan: VlanConfig | undefined;
  /** What has the gateways' addresses: the bridge itself, or its device in the VLAN. */
  readonly device: string;
  /** The bridge's own addresses: the pods' gateways. */
  readonly gateways: readonly Prefix[];
  /** Take addresses away that conflict, instead of failing. */
  readonly forceAddress: boolean;
}

/** Sysctls of the process's own namespace; files of /proc/sys/net follow the opening thread, and pool threads never move. */
export async function setSysctl(path: string, value: string): Promise<void> {
  const file = `/proc/sys/net/${path}`;
  if ((await readFile(file, "utf8")).trim() === value) return;
  await writeFile(file, value);
}

/** Whether this kernel has IPv6 at all. */
export async function hasIpv6(): Promise<boolean> {
  return readFile("/proc/sys/net/ipv6/conf/all/disable_ipv6").then(
    () => true,
    () => false,
  );
}

/**
 * Whether the rules for IP also see what bridges pass on (br_netfilter). Then a packet to a service or host port whose pod
 * is on the sender's own bridge is passed on between the two ports, and never comes to the host.
 */
export async function rulesSeeBridged(): Promise<boolean> {
  const on = (name: string): Promise<boolean> =>
    readFile(`/proc/sys/net/bridge/${name}`, "utf8").then(
      (text) => text.trim() === "1",
      // No such module.
      () => false,
    );
  const both = await Promise.all([on("bridge-nf-call-iptables"), on("bridge-nf-call-ip6tables")]);
  return both.every(Boolean);
}

function creation(spec: BridgeSpec): Step {
  const gateway = spec.gateways[0];
  // A MAC of the bridge's own: one that is taken from its ports changes with them, and breaks neighbours and conntrack.
  const mac = gateway === undefined ? macOfName(spec.name) : macOfAddress(gateway.address);
  const body = Buffer.concat([
    ifInfo(0),
    text(ifla.ifname, spec.name),
    attr(ifla.address, macBytes(mac)),
    ...(spec.mtu === undefined ? [] : [u32(ifla.mtu, spec.mtu)]),
    nested(ifla.linkInfo, text(ifla.infoKind, "bridge")),
  ]);
  return {
    action: `create bridge ${spec.name}`,
    message: { type: rtm.newLink, flags: flags.create | flags.excl, body },
    ignore: errnos.EEXIST,
  };
}

async function findOrCreate(host: Host, spec: BridgeSpec): Promise<Link> {
  const found = await host.findLink(spec.name);
  if (found !== undefined) return found;
  const replies = await runSteps(host.route, [
    creation(spec),
    { action: `find bridge ${spec.name}`, message: getLinkByName(spec.name) },
  ]);
  const created = linkOf(replies[1]);
  if (created === undefined)
    throw new CniError(codes.internal, `bridge ${spec.name} vanished while it was made`);
  if (created.kind === "bridge") await settleIpv6(host, created);
  return created;
}

/** The device has the IPv6 addresses that it is given, and no others. */
async function settleIpv6(host: Host, { name, index }: Link): Promise<void> {
  if (!(await hasIpv6())) return;
  await setSysctl(`ipv6/conf/${name}/disable_ipv6`, "0");
  await runSteps(host.route, [
    { action: `configure ${name}`, message: setLink(index, {}, noGeneratedAddress()) },
  ]);
  await setSysctl(`ipv6/conf/${name}/accept_ra`, "0");
}

async function ensureFiltering(host: Host, bridge: Link): Promise<void> {
  if (bridge.vlanFiltering === undefined) {
    const message = "vlan and vlanTrunk need a kernel with CONFIG_BRIDGE_VLAN_FILTERING";
    throw new CniError(codes.unsupportedField, message);
  }
  if (!bridge.vlanFiltering) await runSteps(host.route, [filteringStep(bridge.name, bridge.index)]);
}

/** The device that gets the gateways' addresses; in a VLAN it is made when it isn't there. */
async function ensureDevice(host: Host, bridge: Link, spec: BridgeSpec): Promise<Link> {
  const access = spec.vlan?.access;
  if (access === undefined || spec.device === spec.name) return bridge;
  const replies = await runSteps(host.route, [
    ...vlanDeviceSteps(spec.device, bridge.index, access),
    { action: `find ${spec.device}`, message: getLinkByName(spec.device) },
  ]);
  const device = linkOf(replies.at(-1));
  if (device === undefined) throw new CniError(codes.internal, `${spec.device} vanished while it was made`);
  if (replies[0]?.errno === 0) await settleIpv6(host, device);
  return device;
}

function isLinkLocal({ address }: Prefix): boolean {
  return address.family === 6 && address.value >> 118n === 0xfe80n >> 6n;
}

/** Steps that give the bridge its addresses; throws when it has another one in the same network. */
async function addressSteps(host: Host, device: Link, spec: BridgeSpec): Promise<readonly Step[]> {
  if (spec.gateways.length === 0) return [];
  const dump = await host.route.dump(`list addresses of ${device.name}`, dumpAddresses(device.index));
  const present = (dump ?? [])
    .map(decodeAddress)
    .filter((entry) => entry.index === device.index)
    .map((entry) => entry.prefix);
  const steps: Step[] = [];
  const has6 = spec.gateways.some((gateway) => gateway.address.family === 6);
  if (has6 && !present.some(isLinkLocal)) {
    // A neighbour is looked for with this address when what is for it comes from elsewhere.
    const local = { address: linkLocalOf(device.mac), length: 64 };
    const action = `add ${formatPrefix(local)} to ${device.name}`;
    steps.push({ action, message: newAddress(device.index, local, flags.excl), ignore: errnos.EEXIST });
  }
  for (const wanted of spec.gateways) {
    const label = formatPrefix(wanted);
    if (present.some((prefix) => formatPrefix(prefix) === label)) continue;
    for (const other of present.filter((prefix) => contains(prefix, wanted.address))) {
      if (!spec.forceAddress) {
        throw new CniError(
          codes.invalidConfig,
          `${device.name} has ${formatPrefix(other)} already, so ${label} needs forceAddress`,
        );
      }
      const action = `remove ${formatPrefix(other)} from ${device.name}`;
      steps.push({ action, message: deleteAddress(device.index, other), ignore: errnos.EADDRNOTAVAIL });
    }
    const message = newAddress(device.index, wanted, flags.excl);
    steps.push({ action: `add ${label} to ${device.name}`, message, ignore: errnos.EEXIST });
  }
  return steps;
}

/**
 * A host that forwards ignores router advertisements unless told otherwise, and would lose its own way out if it has it
 * from them.
 */
async function forwardIpv6(): Promise<void> {
  const all = "/proc/sys/net/ipv6/conf";
  if ((await readFile(`${all}/all/forwarding`, "utf8")).trim() === "1") return;
  for (const name of await readdir(all)) {
    if (name === "all" || name === "default") continue;
    const file = `${all}/${name}/accept_ra`;
    const value = await readFile(file, "utf8").catch(() => "");
    if (value.trim() === "1") await writeFile(file, "2");
  }
  await setSysctl("ipv6/conf/all/forwarding", "1");
}

/** Makes the bridge what the configuration says, whatever is there; several may do so at once. */
export async function ensureBridge(host: Host, spec: BridgeSpec): Promise<Link> {
  const bridge = await findOrCreate(host, spec);
  if (bridge.kind !== "bridge") {
    throw new CniError(
      codes.invalidConfig,
      `${spec.name} exists and is a ${bridge.kind || "device"}, not a bridge`,
    );
  }
  if (spec.vlan !== undefined) await ensureFiltering(host, bridge);
  const device = await ensureDevice(host, bridge, spec);
  const steps = [...(await addressSteps(host, device, spec))];
  const promisc = spec.promisc && !bridge.promisc ? IFF_PROMISC : 0;
  if (!bridge.up || promisc !== 0) {
    steps.push({ action: `set ${spec.name} up`, message: setLink(bridge.index, { set: IFF_UP | promisc }) });
  }
  // Behind the bridge, without which it can't come up.
  if (!device.up && device !== bridge) {
    steps.push({ action: `set ${device.name} up`, message: setLink(device.index, { set: IFF_UP }) });
  }
  if (steps.length > 0) await runSteps(host.route, steps);
  if (spec.gateways.some((gateway) => gateway.address.family === 4)) await setSysctl("ipv4/ip_forward", "1");
  if (spec.gateways.some((gateway) => gateway.address.family === 6)) await forwardIpv6();
  return bridge;
}
