import type { Address } from "../spec/address.ts";
import { addressBytes } from "../spec/address.ts";
import type { NetConfig } from "../spec/config.ts";
import { hashText } from "../spec/hash.ts";

/** What makes a network one of its own on this host: several servers may use one name with bridges of their own. */
export interface NetworkKey {
  readonly name: string;
  readonly bridge: string;
}

export function networkKey(config: NetConfig): NetworkKey {
  return { name: config.name, bridge: config.bridge };
}

/**
 * The device with the gateways' addresses, by which packets come from pods and go to them: the bridge, or its device in
 * the pods' VLAN, named as the reference plugin names it.
 */
export function gatewayDevice(config: Pick<NetConfig, "bridge" | "vlan" | "isGateway">): string {
  const { bridge, vlan, isGateway } = config;
  if (!isGateway || vlan?.access === undefined) return bridge;
  const name = `${bridge}.${vlan.access}`;
  return Buffer.byteLength(name) <= 15 ? name : `vlan${hashText("vlan", name).slice(0, 11)}`;
}

/** Eight hexadecimal digits for names that must differ between networks. */
export function networkTag(key: NetworkKey): string {
  return hashText("network", key.name, key.bridge).slice(0, 8);
}

/** The host's end of a pod's interface. It can be told from network, container and interface alone, so DEL needs no record. */
export function hostLinkName(key: NetworkKey, containerId: string, ifName: string): string {
  return `veth${hashText("link", key.name, key.bridge, containerId, ifName).slice(0, 11)}`;
}

/** The link's alias: for people, and for GC to know whose it is. */
export function linkAlias(key: NetworkKey, containerId: string, ifName: string): string {
  return `berth ${key.name} ${containerId} ${ifName}`;
}

/** Reads an alias back; undefined for one that isn't ours. */
export function parseAlias(
  alias: string,
): { readonly network: string; readonly containerId: string; readonly ifName: string } | undefined {
  const [mark, network, containerId, ifName] = alias.split(" ");
  if (mark !== "berth" || network === undefined || containerId === undefined || ifName === undefined) {
    return undefined;
  }
  return { network, containerId, ifName };
}

function colons(hex: string): string {
  return (hex.match(/../g) ?? []).join(":");
}

/** A locally administered address out of the IP address: a neighbour's cache stays right when the IP is used again. */
export function macOfAddress(address: Address): string {
  const bytes = addressBytes(address);
  return `0a:58:${colons(bytes.subarray(bytes.length - 4).toString("hex"))}`;
}

/** A locally administered address out of any name. */
export function macOfName(name: string): string {
  return `0a:58:${colons(hashText("mac", name).slice(0, 8))}`;
}

/** fe80:: with the interface's own identifier (RFC 4291, appendix A). */
export function linkLocalOf(mac: string): Address {
  const bytes = Buffer.from(mac.replaceAll(":", ""), "hex");
  const id = Buffer.from([
    (bytes[0] ?? 0) ^ 2,
    bytes[1] ?? 0,
    bytes[2] ?? 0,
    0xff,
    0xfe,
    bytes[3] ?? 0,
    bytes[4] ?? 0,
    bytes[5] ?? 0,
  ]);
  return { family: 6, value: (0xfe80n << 112n) | BigInt(`0x${id.toString("hex")}`) };
}
