import type { Address, Prefix } from "./address.ts";
import { parseAddress, parsePrefix } from "./address.ts";
import { CniError, codes } from "./errors.ts";
import { Fields } from "./json.ts";

export type Protocol = "tcp" | "udp" | "sctp";

export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: Protocol;
  /** undefined: every address of the host, of both families. */
  readonly hostIp: Address | undefined;
}

/** Bits per second and bits, as the capability has them. undefined: no limit. */
export interface Bandwidth {
  readonly ingressRate: number | undefined;
  readonly ingressBurst: number | undefined;
  readonly egressRate: number | undefined;
  readonly egressBurst: number | undefined;
}

/** What the runtime added by capability. Capabilities that this plugin does not know are left alone. */
export interface RuntimeConfig {
  /** undefined: the runtime sent none, so that DEL has to look for itself. */
  readonly portMappings: readonly PortMapping[] | undefined;
  readonly bandwidth: Bandwidth | undefined;
  /** Wanted addresses, with or without prefix length. */
  readonly ips: readonly Prefix[];
  readonly mac: string | undefined;
  readonly aliases: readonly string[];
}

const protocols: Readonly<Record<string, Protocol>> = { tcp: "tcp", udp: "udp", sctp: "sctp" };

/** Six bytes in colons, unicast. */
export function parseMac(text: string, field: string): string {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text) || Number.parseInt(text.slice(0, 2), 16) % 2 === 1) {
    throw new CniError(codes.invalidConfig, `${field} "${text}" is no MAC address of one interface`);
  }
  return text.toLowerCase();
}

function parseMapping(fields: Fields): PortMapping | undefined {
  const hostPort = fields.integer("hostPort", 0, 65535) ?? 0;
  // A mapping without a host port asks for nothing (kubelet passes container ports that way).
  if (hostPort === 0) return undefined;
  const containerPort = fields.integer("containerPort", 1, 65535);
  if (containerPort === undefined) {
    throw new CniError(codes.invalidConfig, `${fields.name("containerPort")} is missing`);
  }
  const name = fields.string("protocol") ?? "tcp";
  const protocol = protocols[name.toLowerCase()];
  if (protocol === undefined) {
    throw new CniError(codes.invalidConfig, `${fields.name("protocol")} "${name}" is none of tcp, udp, sctp`);
  }
  const hostIp = fields.string("hostIP") ?? "";
  const address = hostIp === "" ? undefined : parseAddress(hostIp, fields.name("hostIP"));
  return {
    hostPort,
    containerPort,
    protocol,
    hostIp: address === undefined || address.value === 0n ? undefined : address,
  };
}

/** Rates of kubelet can be as large as an int64 and bursts are MaxUint32: anything below zero is the only error. */
function parseBandwidth(fields: Fields | undefined): Bandwidth | undefined {
  if (fields === undefined) return undefined;
  const rate = (key: string): number | undefined => {
    const value = fields.integer(key, 0, Number.MAX_VALUE);
    return value === 0 ? undefined : value;
  };
  const bandwidth = {
    ingressRate: rate("ingressRate"),
    ingressBurst: rate("ingressBurst"),
    egressRate: rate("egressRate"),
    egressBurst: rate("egressBurst"),
  };
  return bandwidth.ingressRate === undefined && bandwidth.egressRate === undefined ? undefined : bandwidth;
}

/** An address, with a prefix length or (then it means the whole address) without. */
export function parseWantedIp(text: string, field: string): Prefix {
  if (text.includes("/")) return parsePrefix(text, field);
  const address = parseAddress(text, field);
  return { address, length: address.family === 4 ? 32 : 128 };
}

export const noRuntimeConfig: RuntimeConfig = {
  portMappings: undefined,
  bandwidth: undefined,
  ips: [],
  mac: undefined,
  aliases: [],
};

export function parseRuntimeConfig(config: Fields): RuntimeConfig {
  const fields = config.object("runtimeConfig") ?? new Fields({}, "runtimeConfig");
  const aliases = fields.raw("aliases");
  const mac = fields.string("mac");
  return {
    portMappings: fields.objects("portMappings")?.flatMap((entry) => parseMapping(entry) ?? []),
    bandwidth: parseBandwidth(fields.object("bandwidth")),
    ips: (fields.strings("ips") ?? []).map((ip, index) => parseWantedIp(ip, `runtimeConfig.ips[${index}]`)),
    mac: mac === undefined || mac === "" ? undefined : parseMac(mac, "runtimeConfig.mac"),
    aliases: Array.isArray(aliases) ? (fields.strings("aliases") ?? []) : [],
  };
}
