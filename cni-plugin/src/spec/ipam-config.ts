import type { Address, Family, Prefix } from "./address.ts";
import {
  bitsOf,
  contains,
  formatAddress,
  formatPrefix,
  lastOf,
  networkOf,
  parseAddress,
  parsePrefix,
} from "./address.ts";
import { CniError, codes } from "./errors.ts";
import { Fields } from "./json.ts";
import type { ResultRoute } from "./result.ts";
import { parseWantedIp } from "./runtime-config.ts";

export interface Range {
  readonly subnet: Prefix;
  readonly start: Address;
  readonly end: Address;
  readonly gateway: Address;
  /** Addresses never given out, besides the gateway. */
  readonly exclude: readonly Prefix[];
}

/** One address is allocated out of each set. */
export type RangeSet = readonly Range[];

export interface BuiltInIpam {
  readonly kind: "built-in";
  readonly type: string;
  readonly sets: readonly RangeSet[];
  readonly routes: readonly ResultRoute[];
  readonly dataDir: string;
  readonly resolvConf: string | undefined;
  readonly wanted: readonly Prefix[];
}

export type IpamConfig = BuiltInIpam | { readonly kind: "foreign"; readonly type: string };

/** Where the reference plugin keeps its reservations, so that a node can change over with pods running. */
export const defaultDataDir = "/var/lib/cni/networks";

function bad(message: string): CniError {
  return new CniError(codes.invalidConfig, message);
}

function parseRange(fields: Fields): Range {
  const text = fields.string("subnet");
  if (text === undefined) throw bad(`${fields.name("subnet")} is missing`);
  const subnet = parsePrefix(text, fields.name("subnet"));
  const { family } = subnet.address;
  const network = networkOf(subnet).value;
  const bits = bitsOf(family) - subnet.length;
  if (bits < 2) throw bad(`${fields.name("subnet")} "${text}" is too small to give addresses out of`);
  const inside = (key: string): Address | undefined => {
    const value = fields.string(key);
    if (value === undefined || value === "") return undefined;
    const address = parseAddress(value, fields.name(key));
    if (!contains(subnet, address)) throw bad(`${fields.name(key)} "${value}" is not in ${text}`);
    return address;
  };
  // The network's own address and, in IPv4, the broadcast address are no one's.
  const start = inside("rangeStart") ?? { family, value: network + 1n };
  const last = lastOf(subnet).value - (family === 4 ? 1n : 0n);
  const end = inside("rangeEnd") ?? { family, value: last };
  if (start.value > end.value) {
    throw bad(
      `${fields.name("rangeStart")} ${formatAddress(start)} is behind rangeEnd ${formatAddress(end)}`,
    );
  }
  const exclude = (fields.strings("exclude") ?? []).map((entry, index) =>
    parseWantedIp(entry, `${fields.name("exclude")}[${index}]`),
  );
  return { subnet, start, end, gateway: inside("gateway") ?? { family, value: network + 1n }, exclude };
}

function overlap(a: Range, b: Range): boolean {
  return (
    a.subnet.address.family === b.subnet.address.family &&
    a.start.value <= b.end.value &&
    b.start.value <= a.end.value
  );
}

function checkSets(sets: readonly RangeSet[]): void {
  for (const [index, set] of sets.entries()) {
    const families = new Set(set.map((range) => range.subnet.address.family));
    if (families.size > 1) throw bad(`ipam.ranges[${index}] mixes IPv4 and IPv6; each set gives one address`);
  }
  const all = sets.flat();
  for (const [index, range] of all.entries()) {
    const other = all.slice(index + 1).find((candidate) => overlap(range, candidate));
    if (other !== undefined) {
      throw bad(`ipam ranges of ${formatPrefix(range.subnet)} and ${formatPrefix(other.subnet)} overlap`);
    }
  }
}

function parseSets(value: readonly unknown[] | undefined, name: string): RangeSet[] {
  return (value ?? []).map((set, index) => {
    const ranges = new Fields({ set }, `${name}[${index}]`).objects("set") ?? [];
    if (ranges.length === 0) throw bad(`${name}[${index}] is an empty range set`);
    return ranges.map(parseRange);
  });
}

function parseRoutes(fields: Fields): readonly ResultRoute[] {
  return (fields.objects("routes") ?? []).map((route) => {
    const dst = route.string("dst");
    if (dst === undefined) throw bad(`${route.name("dst")} is missing`);
    parsePrefix(dst, route.name("dst"));
    const gw = route.string("gw");
    if (gw !== undefined && gw !== "") parseAddress(gw, route.name("gw"));
    const numbers: Record<string, number> = {};
    for (const key of ["mtu", "advmss", "priority", "table", "scope"] as const) {
      const number = route.integer(key, 0, 0xffffffff);
      if (number !== undefined) numbers[key] = number;
    }
    return { dst, ...(gw === undefined || gw === "" ? {} : { gw }), ...numbers };
  });
}

/** Wanted addresses by precedence: runtimeConfig.ips, then args.cni.ips, then CNI_ARGS IP. */
function parseWanted(config: Fields, args: ReadonlyMap<string, string>): readonly Prefix[] {
  const runtime = config.object("runtimeConfig")?.strings("ips");
  const old = config.object("args")?.object("cni")?.strings("ips");
  const env = args
    .get("IP")
    ?.split(",")
    .filter((text) => text !== "");
  const [list, name] =
    runtime !== undefined && runtime.length > 0
      ? [runtime, "runtimeConfig.ips"]
      : old !== undefined && old.length > 0
        ? [old, "args.cni.ips"]
        : [env ?? [], "CNI_ARGS IP"];
  return list.map((text, index) => parseWantedIp(text, `${name}[${index}]`));
}

/** What was asked for one pod alone does not matter to a lenient reader. Without an ipam section (or with an empty type) the interface gets no address. */
export function parseIpam(
  config: Fields,
  args: ReadonlyMap<string, string>,
  lenient: boolean,
): IpamConfig | undefined {
  const fields = config.object("ipam");
  const type = fields?.string("type") ?? "";
  if (fields === undefined || type === "") return undefined;
  if (type !== "berth" && type !== "host-local") return { kind: "foreign", type };
  const runtime = config.object("runtimeConfig");
  const sets = [
    ...(lenient ? [] : parseSets(runtime?.list("ipRanges"), "runtimeConfig.ipRanges")),
    ...(fields.string("subnet") === undefined ? [] : [[parseRange(fields)]]),
    ...parseSets(fields.list("ranges"), "ipam.ranges"),
  ];
  if (sets.length === 0) throw bad("ipam has neither ranges nor a subnet");
  checkSets(sets);
  const resolvConf = fields.string("resolvConf");
  return {
    kind: "built-in",
    type,
    sets,
    routes: parseRoutes(fields),
    dataDir: fields.string("dataDir") || defaultDataDir,
    resolvConf: resolvConf === "" ? undefined : resolvConf,
    wanted: lenient ? [] : parseWanted(config, args),
  };
}

/** Which families a configuration gives addresses of. */
export function familiesOf(ipam: BuiltInIpam): ReadonlySet<Family> {
  return new Set(ipam.sets.flatMap((set) => set.map((range) => range.subnet.address.family)));
}
