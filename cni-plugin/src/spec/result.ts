import type { Family } from "./address.ts";
import { CniError, codes } from "./errors.ts";
import type { CniVersion } from "./versions.ts";
import { atLeast } from "./versions.ts";

export interface ResultInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface ResultIp {
  readonly family: Family;
  readonly address: string;
  readonly gateway?: string;
  /** Index into interfaces. */
  readonly interface?: number;
}

export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** A result with all that the newest version knows. */
export interface Result {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

export const emptyResult: Result = { interfaces: [], ips: [], routes: [], dns: {} };

type Json = Readonly<Record<string, unknown>>;

function legacy(result: Result, cniVersion: CniVersion): Json {
  const one = (family: Family): Json => {
    const ip = result.ips.find((candidate) => candidate.family === family);
    if (ip === undefined) return {};
    const routes = result.routes
      .filter((route) => route.dst.includes(":") === (family === 6))
      .map(({ dst, gw }) => ({ dst, ...(gw === undefined ? {} : { gw }) }));
    const body = {
      ip: ip.address,
      ...(ip.gateway === undefined ? {} : { gateway: ip.gateway }),
      ...(routes.length === 0 ? {} : { routes }),
    };
    return { [`ip${family}`]: body };
  };
  return { cniVersion, ...one(4), ...one(6), dns: result.dns };
}

function presentInterface(entry: ResultInterface, cniVersion: CniVersion): Json {
  const { name, mac, sandbox, mtu, socketPath, pciID } = entry;
  return {
    name,
    ...(mac === undefined ? {} : { mac }),
    ...(mtu !== undefined && atLeast(cniVersion, "1.1.0") ? { mtu } : {}),
    ...(sandbox === undefined ? {} : { sandbox }),
    ...(socketPath !== undefined && atLeast(cniVersion, "1.1.0") ? { socketPath } : {}),
    ...(pciID !== undefined && atLeast(cniVersion, "1.1.0") ? { pciID } : {}),
  };
}

function presentIp(ip: ResultIp, cniVersion: CniVersion): Json {
  return {
    ...(atLeast(cniVersion, "1.0.0") ? {} : { version: String(ip.family) }),
    ...(ip.interface === undefined ? {} : { interface: ip.interface }),
    address: ip.address,
    ...(ip.gateway === undefined ? {} : { gateway: ip.gateway }),
  };
}

function presentRoute(route: ResultRoute, cniVersion: CniVersion): Json {
  const { dst, gw, ...more } = route;
  return { dst, ...(gw === undefined ? {} : { gw }), ...(atLeast(cniVersion, "1.1.0") ? more : {}) };
}

/** The result in the form of the version that the configuration names. */
export function presentResult(result: Result, cniVersion: CniVersion): Json {
  if (!atLeast(cniVersion, "0.3.0")) return legacy(result, cniVersion);
  return {
    cniVersion,
    ...(result.interfaces.length === 0
      ? {}
      : { interfaces: result.interfaces.map((entry) => presentInterface(entry, cniVersion)) }),
    ...(result.ips.length === 0 ? {} : { ips: result.ips.map((ip) => presentIp(ip, cniVersion)) }),
    ...(result.routes.length === 0
      ? {}
      : { routes: result.routes.map((route) => presentRoute(route, cniVersion)) }),
    dns: result.dns,
  };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function objects(value: unknown, field: string): readonly Json[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || !value.every(isObject)) {
    throw new CniError(codes.decode, `${field} is no list of objects`);
  }
  return value;
}

function familyOf(address: unknown, field: string): Family {
  if (typeof address !== "string" || !address.includes("/")) {
    throw new CniError(codes.decode, `${field}.address is no address with a prefix length`);
  }
  return address.includes(":") ? 6 : 4;
}

function parseLegacy(json: Json): Result {
  const ips: ResultIp[] = [];
  const routes: ResultRoute[] = [];
  for (const family of [4, 6] as const) {
    const body = json[`ip${family}`];
    if (!isObject(body) || typeof body.ip !== "string") continue;
    const gateway = body.gateway;
    ips.push({ family, address: body.ip, ...(typeof gateway === "string" ? { gateway } : {}) });
    routes.push(...(objects(body.routes, `ip${family}.routes`) as unknown as ResultRoute[]));
  }
  return { interfaces: [], ips, routes, dns: isObject(json.dns) ? json.dns : {} };
}

/** A result of any version, as a previous plugin or an IPAM plugin printed it. */
export function parseResult(json: unknown, field: string): Result {
  if (json === null || json === undefined) return emptyResult;
  if (!isObject(json)) throw new CniError(codes.decode, `${field} is no object`);
  if ("ip4" in json || "ip6" in json) return parseLegacy(json);
  const ips = objects(json.ips, `${field}.ips`).map((entry, index): ResultIp => {
    const { version: _, ...rest } = entry;
    const family = familyOf(rest.address, `${field}.ips[${index}]`);
    return { ...(rest as unknown as Omit<ResultIp, "family">), family };
  });
  return {
    interfaces: objects(json.interfaces, `${field}.interfaces`) as unknown as readonly ResultInterface[],
    ips,
    routes: objects(json.routes, `${field}.routes`) as unknown as readonly ResultRoute[],
    dns: isObject(json.dns) ? json.dns : {},
  };
}
