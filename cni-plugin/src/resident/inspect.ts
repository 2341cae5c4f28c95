import type { Context } from "../command/context.ts";
import type { Channel } from "../link/channel.ts";
import { listLinks } from "../link/host.ts";
import { parseAlias } from "../link/names.ts";
import type { Link } from "../link/rtnetlink.ts";
import { decodeAddress, decodeRoute, dumpAddresses, dumpRoutes, rtm } from "../link/rtnetlink.ts";
import { describePort, linkOfOwner } from "../nft/host-ports.ts";
import type { KernelElement } from "../nft/table.ts";
import { addressOfBytes, formatAddress, formatPrefix } from "../spec/address.ts";

/** One interface of a pod, as the kernel has it. */
export interface InterfaceFacts {
  readonly name: string;
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly addresses: readonly string[];
  /** The host's end of a veth; "" when it is none or gone. */
  readonly hostLink: string;
}

/** What the kernel has of one pod's network. */
export interface NetworkFacts {
  readonly interfaces: readonly InterfaceFacts[];
  /** `default via 10.1.0.1 dev eth0`. */
  readonly routes: readonly string[];
}

/** A link on the host that carries our mark: whose it is, and of which network. */
export interface OwnedLink {
  readonly name: string;
  readonly containerId: string;
  readonly network: string;
  /** Two servers may use one name for networks on bridges of their own. */
  readonly bridge: string;
}

/** A host port as inspectHostPorts shows it, whose it is, and the link that proves that its pod lives. */
export interface OwnedPort {
  readonly name: string;
  readonly containerId: string;
  readonly network: string;
  readonly link: string;
}

const mainTable = 254;

/** Reads the interfaces, addresses and routes of a network namespace, whoever made them. */
export async function inspectNamespace(context: Context, path: string): Promise<NetworkFacts> {
  const netns = await context.host.openNetns(path);
  try {
    const hostLinks = await context.host.listLinks();
    const channel = context.host.enter(netns, () => undefined);
    try {
      const links = await listLinks(channel);
      return {
        interfaces: await Promise.all(
          links.map(async (link) => ({
            name: link.name,
            kind: link.kind,
            mac: link.mac,
            mtu: link.mtu,
            up: link.up,
            addresses: await addressesOf(channel, link),
            hostLink: link.kind === "veth" ? hostEnd(hostLinks, link) : "",
          })),
        ),
        routes: await routesOf(channel, links),
      };
    } finally {
      channel.close();
    }
  } finally {
    await netns.close();
  }
}

/** Interface numbers are only unique within a namespace, so both ends have to name each other. */
function hostEnd(hostLinks: readonly Link[], { peer, index }: Link): string {
  return hostLinks.find((link) => link.index === peer && link.peer === index)?.name ?? "";
}

async function addressesOf(channel: Channel, { index }: Link): Promise<readonly string[]> {
  const dump = await channel.dump("list addresses", dumpAddresses(index));
  return (dump ?? [])
    .filter((part) => part.type === rtm.newAddr)
    .map(decodeAddress)
    .filter((entry) => entry.index === index)
    .map((entry) => formatPrefix(entry.prefix));
}

async function routesOf(channel: Channel, links: readonly Link[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const family of [4, 6] as const) {
    const dump = await channel.dump("list routes", dumpRoutes(family));
    for (const part of (dump ?? []).filter(({ type }) => type === rtm.newRoute)) {
      const route = decodeRoute(part);
      if (route.table !== mainTable) continue;
      const to = route.dst === "" ? "default" : `${formatHex(route.dst)}/${route.length}`;
      const by = route.gateway === "" ? "" : ` via ${formatHex(route.gateway)}`;
      const device = links.find((link) => link.index === route.index)?.name ?? String(route.index);
      found.push(`${to}${by} dev ${device}`);
    }
  }
  return found;
}

function formatHex(hex: string): string {
  return formatAddress(addressOfBytes(Buffer.from(hex, "hex")));
}

/** The pod's elements in the maps of host ports: `tcp 8080 -> 10.1.0.5:80`. */
export async function inspectHostPorts(context: Context, containerId: string): Promise<readonly string[]> {
  const elements = await context.table.list();
  return elements.filter((element) => ownerOf(element) === containerId).map(formatElement);
}

function ownerOf({ owner }: KernelElement): string {
  return owner.split(" ")[2] ?? "";
}

function formatElement(element: KernelElement): string {
  const { value } = element;
  const address = addressOfBytes(value.subarray(0, value.length - 4));
  const shown = address.family === 6 ? `[${formatAddress(address)}]` : formatAddress(address);
  return `${describePort(element)} -> ${shown}:${value.readUInt16BE(value.length - 4)}`;
}

/** Every link and host port of this host that is marked as some pod's. */
export async function listOwned(
  context: Context,
): Promise<{ readonly links: readonly OwnedLink[]; readonly hostPorts: readonly OwnedPort[] }> {
  const [links, elements] = await Promise.all([context.host.listLinks(), context.table.list()]);
  const names = new Map(links.map((link) => [link.index, link.name]));
  return {
    links: links.flatMap(({ name, alias, master }) => {
      const owner = parseAlias(alias);
      if (owner === undefined) return [];
      const { containerId, network } = owner;
      return [{ name, containerId, network, bridge: names.get(master) ?? "" }];
    }),
    hostPorts: elements.map((element) => ({
      name: formatElement(element),
      containerId: ownerOf(element),
      network: element.owner.split(" ")[1] ?? "",
      link: linkOfOwner(element.owner),
    })),
  };
}
