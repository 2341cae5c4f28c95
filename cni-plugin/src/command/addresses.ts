import { readFile } from "node:fs/promises";
import type { LeaseOwner, LeaseProof } from "../ipam/lease-store.ts";
import type { Allocation, Pool } from "../ipam/pool.ts";
import { hostLinkName, networkKey } from "../link/names.ts";
import type { Address, Prefix } from "../spec/address.ts";
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from "../spec/address.ts";
import type { NetConfig } from "../spec/config.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { BuiltInIpam } from "../spec/ipam-config.ts";
import type { Dns, ResultRoute } from "../spec/result.ts";
import { parseResult } from "../spec/result.ts";
import type { Context, Request } from "./context.ts";
import { sweepLeases } from "./sweep.ts";
import type { Undo } from "./undo.ts";

export interface PodAddress {
  readonly prefix: Prefix;
  readonly gateway: Address | undefined;
}

/** What an IPAM gave, ours or another. */
export interface Assignment {
  readonly addresses: readonly PodAddress[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

export function ownerOf(request: Request): LeaseOwner {
  return { containerId: request.call.containerId, ifName: request.call.ifName };
}

export function proofOf(
  context: Context,
  request: Request,
  netnsInode: bigint,
  hostLink: string,
): LeaseProof {
  return {
    boot: context.boot,
    hostLink,
    bridge: request.config.bridge,
    netns: request.call.netns,
    netnsInode: String(netnsInode),
    hostPorts: (request.config.runtime.portMappings?.length ?? 0) > 0,
  };
}

/** The lines of a resolv.conf that a result can carry. */
export function parseResolvConf(text: string): Dns {
  const words = text
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([key]) => key !== undefined && key !== "" && !/^[#;]/.test(key));
  const of = (key: string): string[] =>
    words.filter(([first]) => first === key).flatMap(([, ...rest]) => rest);
  const domain = of("domain").at(-1);
  const [nameservers, search, options] = [of("nameserver"), of("search"), of("options")];
  return {
    ...(nameservers.length === 0 ? {} : { nameservers }),
    ...(domain === undefined ? {} : { domain }),
    ...(search.length === 0 ? {} : { search }),
    ...(options.length === 0 ? {} : { options }),
  };
}

/** An ADD that takes so long is dead: its lease is of no use to anyone. */
const oldEnoughMs = 120_000;

/** Before saying that no address is left, those are freed that nobody has any more. */
async function allocateOrSweep(
  context: Context,
  request: Request,
  pool: Pool,
  ipam: BuiltInIpam,
  proof: LeaseProof,
): Promise<readonly Allocation[]> {
  const owner = ownerOf(request);
  try {
    return await pool.allocate(ipam, owner, proof);
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== codes.addressesExhausted) throw error;
    const freed = await sweepLeases(context, pool, request.config.bridge, oldEnoughMs);
    if (freed.length === 0) throw error;
    context.warn("freed addresses that nobody has", { network: request.config.name, freed });
    return pool.allocate(ipam, owner, proof);
  }
}

/** Addresses out of our own ranges. */
export async function allocate(
  context: Context,
  request: Request,
  ipam: BuiltInIpam,
  proof: LeaseProof,
  undo: Undo,
): Promise<Assignment> {
  const pool = await context.pool(ipam.dataDir, request.config.name);
  const owner = ownerOf(request);
  const given = await allocateOrSweep(context, request, pool, ipam, proof);
  for (const { address } of given) {
    undo.push(`free ${formatAddress(address)}`, () => pool.release(address, owner));
  }
  return {
    addresses: given.map(({ address, range }) => ({
      prefix: { address, length: range.subnet.length },
      gateway: range.gateway,
    })),
    routes: ipam.routes,
    dns: ipam.resolvConf === undefined ? {} : parseResolvConf(await readFile(ipam.resolvConf, "utf8")),
  };
}

async function delegated(context: Context, request: Request, type: string, undo: Undo): Promise<Assignment> {
  const { call, env, config } = request;
  const free = (): Promise<unknown> =>
    context.delegate(type, { ...call, command: "DEL" }, { ...env, CNI_COMMAND: "DEL" }, config);
  // The specification wants its DEL after a failed ADD as well.
  undo.push(`free addresses of ${type}`, free);
  const result = parseResult(await context.delegate(type, call, env, config), `result of ${type}`);
  return {
    addresses: result.ips.map((ip) => ({
      prefix: parsePrefix(ip.address, `address of ${type}`),
      gateway: ip.gateway === undefined ? undefined : parseAddress(ip.gateway, `gateway of ${type}`),
    })),
    routes: result.routes,
    dns: result.dns,
  };
}

/** Whatever the configuration's ipam section gives. */
export async function assign(
  context: Context,
  request: Request,
  inode: bigint,
  undo: Undo,
): Promise<Assignment> {
  const { config, call } = request;
  const { ipam } = config;
  if (ipam === undefined) return { addresses: [], routes: [], dns: {} };
  if (ipam.kind === "foreign") return delegated(context, request, ipam.type, undo);
  const hostLink = hostLinkName(networkKey(config), call.containerId, call.ifName);
  return allocate(context, request, ipam, proofOf(context, request, inode, hostLink), undo);
}

/** Gives back whatever the pod has of this network. Works with nothing left but the lease files. */
export async function releaseAddresses(context: Context, request: Request): Promise<void> {
  const { config, call, env } = request;
  const { ipam } = config;
  if (ipam === undefined) return;
  if (ipam.kind === "foreign") {
    await context.delegate(ipam.type, call, env, config);
    return;
  }
  const pool = await context.pool(ipam.dataDir, config.name);
  const owner = ownerOf(request);
  const told = (config.prevResult?.ips ?? []).map((ip) =>
    formatPrefix(parsePrefix(ip.address, "prevResult.ips")),
  );
  const texts = new Set([...pool.knownOf(owner), ...told.map((text) => text.slice(0, text.indexOf("/")))]);
  let freed = 0;
  for (const text of texts) {
    if (await pool.release(parseAddress(text, "lease"), owner)) freed += 1;
  }
  if (freed > 0) return;
  for (const address of await pool.searchOf(owner)) await pool.release(address, owner);
}

/** The gateways that the bridge has to have, known before any address is given. */
export function gatewaysOf(config: NetConfig): readonly Prefix[] | undefined {
  if (config.ipam === undefined) return [];
  if (config.ipam.kind === "foreign") return undefined;
  const seen = new Map<string, Prefix>();
  for (const range of config.ipam.sets.flat()) {
    const prefix = { address: range.gateway, length: range.subnet.length };
    seen.set(formatPrefix(prefix), prefix);
  }
  return [...seen.values()];
}
