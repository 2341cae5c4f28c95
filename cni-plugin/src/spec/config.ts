import { checkIfName } from "./env.ts";
import { CniError, codes } from "./errors.ts";
import type { IpamConfig } from "./ipam-config.ts";
import { parseIpam } from "./ipam-config.ts";
import type { JsonObject } from "./json.ts";
import { Fields, isObject } from "./json.ts";
import type { Dns, Result } from "./result.ts";
import { parseResult } from "./result.ts";
import type { RuntimeConfig } from "./runtime-config.ts";
import { noRuntimeConfig, parseMac, parseRuntimeConfig } from "./runtime-config.ts";
import type { CniVersion } from "./versions.ts";
import { atLeast, parseVersion } from "./versions.ts";
import type { VlanConfig } from "./vlan.ts";
import { parseVlan } from "./vlan.ts";

export interface Attachment {
  readonly containerId: string;
  readonly ifName: string;
}

/** Which pods may talk to which, beyond what the kernel routes. */
export type Isolation = "open" | "same-bridge" | "same-namespace" | "isolated";

/** A network configuration of ours, checked. README.md of the plugin documents the keys. */
export interface NetConfig {
  readonly cniVersion: CniVersion;
  readonly name: string;
  readonly type: string;
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  readonly hairpinMode: boolean;
  readonly promiscMode: boolean;
  readonly portIsolation: boolean;
  /** undefined: the bridge doesn't look at VLANs. */
  readonly vlan: VlanConfig | undefined;
  readonly mtu: number | undefined;
  readonly mac: string | undefined;
  readonly ingressPolicy: Isolation;
  readonly forwardAccept: boolean;
  readonly dns: Dns;
  readonly ipam: IpamConfig | undefined;
  readonly runtime: RuntimeConfig;
  readonly prevResult: Result | undefined;
  /** GC: undefined when the runtime sent no list, which is not an empty list. */
  readonly validAttachments: readonly Attachment[] | undefined;
  readonly raw: JsonObject;
}

function parseJson(stdin: Buffer): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(stdin.toString("utf8"));
  } catch (cause) {
    throw new CniError(codes.decode, `the network configuration is no JSON: ${String(cause)}`, { cause });
  }
  if (!isObject(value)) throw new CniError(codes.decode, "the network configuration is no JSON object");
  return value;
}

/** Reads only the version; for VERSION and for printing errors. */
export function versionOf(stdin: Buffer): string | undefined {
  try {
    const version = parseJson(stdin).cniVersion;
    return typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}

function parseName(fields: Fields): string {
  const name = fields.string("name") ?? "";
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new CniError(
      codes.invalidConfig,
      `name "${name}" must begin with a letter or digit and have only these, "_", "." and "-"`,
    );
  }
  return name;
}

function parseBridge(fields: Fields): string {
  // The second is the reference plugin's, for whoever uses this one in its place.
  const bridge = fields.string("bridge") || (fields.string("type") === "bridge" ? "cni0" : "berth0");
  try {
    checkIfName(bridge);
  } catch (cause) {
    throw new CniError(codes.invalidConfig, `bridge "${bridge}" is no name for a network interface`, {
      cause,
    });
  }
  return bridge;
}

const isolations: readonly Isolation[] = ["open", "same-bridge", "same-namespace", "isolated"];

function parseIsolation(fields: Fields, isGateway: boolean, lenient: boolean): Isolation {
  const text = fields.string("ingressPolicy") ?? "open";
  const policy = isolations.find((known) => known === text);
  if (policy === undefined) {
    throw new CniError(codes.invalidConfig, `ingressPolicy "${text}" is none of ${isolations.join(", ")}`);
  }
  if (policy === "same-namespace" && !isGateway && !lenient) {
    throw new CniError(codes.invalidConfig, `ingressPolicy "${text}" needs isGateway: pods meet at the host`);
  }
  return policy;
}

/** Null is how Go prints an empty list. A key that is not there is no list at all. */
function parseAttachments(json: JsonObject, fields: Fields): readonly Attachment[] | undefined {
  const key = ["cni.dev/valid-attachments", "cni.dev/attachments"].find((name) => name in json);
  if (key === undefined) return undefined;
  return (fields.objects(key) ?? []).map((entry) => ({
    containerId: entry.string("containerID") ?? "",
    ifName: entry.string("ifname") ?? "",
  }));
}

function parseDns(fields: Fields | undefined): Dns {
  if (fields === undefined) return {};
  const nameservers = fields.strings("nameservers");
  const domain = fields.string("domain");
  const search = fields.strings("search");
  const options = fields.strings("options");
  return {
    ...(nameservers === undefined ? {} : { nameservers }),
    ...(domain === undefined ? {} : { domain }),
    ...(search === undefined ? {} : { search }),
    ...(options === undefined ? {} : { options }),
  };
}

/** What DEL can't make sense of, it looks for itself. */
function runtimeOf(fields: Fields, lenient: boolean): RuntimeConfig {
  try {
    return parseRuntimeConfig(fields);
  } catch (error) {
    if (lenient) return noRuntimeConfig;
    throw error;
  }
}

function parseFields(
  json: JsonObject,
  cniVersion: CniVersion,
  args: ReadonlyMap<string, string>,
  lenient: boolean,
): NetConfig {
  const fields = new Fields(json, "");
  const isDefaultGateway = fields.boolean("isDefaultGateway") ?? false;
  const isGateway = isDefaultGateway || (fields.boolean("isGateway") ?? false);
  const mac = fields.string("mac");
  const prevResult = fields.raw("prevResult");
  const hairpinMode = fields.boolean("hairpinMode") ?? false;
  const promiscMode = fields.boolean("promiscMode") ?? false;
  if (hairpinMode && promiscMode) {
    throw new CniError(codes.invalidConfig, "hairpinMode and promiscMode exclude each other");
  }
  // 0 means "the kernel's default" to the reference plugin's users.
  const mtu = fields.integer("mtu", 0, 65535);
  return {
    cniVersion,
    name: parseName(fields),
    type: fields.string("type") ?? "berth",
    bridge: parseBridge(fields),
    isGateway,
    isDefaultGateway,
    forceAddress: fields.boolean("forceAddress") ?? false,
    ipMasq: fields.boolean("ipMasq") ?? false,
    hairpinMode,
    promiscMode,
    portIsolation: fields.boolean("portIsolation") ?? false,
    vlan: parseVlan(fields),
    mtu: mtu === 0 ? undefined : mtu,
    mac: mac === undefined || mac === "" ? undefined : parseMac(mac, "mac"),
    ingressPolicy: parseIsolation(fields, isGateway, lenient),
    forwardAccept: fields.boolean("forwardAccept") ?? true,
    dns: parseDns(fields.object("dns")),
    ipam: parseIpam(fields, args, lenient),
    runtime: runtimeOf(fields, lenient),
    prevResult: prevResult === undefined ? undefined : parseResult(prevResult, "prevResult"),
    validAttachments: parseAttachments(json, fields),
    raw: json,
  };
}

/**
 * @param args CNI_ARGS, whose IP is an older way to ask for what runtimeConfig.ips asks for now.
 * @param lenient for DEL and GC, which must not fail over a port or address that ADD would have refused.
 */
export function parseConfig(stdin: Buffer, args: ReadonlyMap<string, string>, lenient = false): NetConfig {
  const json = parseJson(stdin);
  const fields = new Fields(json, "");
  const cniVersion = parseVersion(fields.string("cniVersion"));
  return parseFields(json, cniVersion, args, lenient);
}

/** CHECK came with 0.4.0, GC and STATUS with 1.1.0; asking for them in an older dialect is an error of the runtime. */
export function requireVersion(config: NetConfig, command: string, since: CniVersion): void {
  if (!atLeast(config.cniVersion, since)) {
    throw new CniError(
      codes.incompatibleVersion,
      `cniVersion "${config.cniVersion}" has no ${command}; it came with ${since}`,
    );
  }
}
