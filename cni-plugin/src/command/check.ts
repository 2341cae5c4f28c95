import type { Netns } from "../link/host.ts";
import { linkOf } from "../link/host.ts";
import { hostLinkName, networkKey } from "../link/names.ts";
import type { Link } from "../link/rtnetlink.ts";
import { decodeAddress, decodeRoute, dumpAddresses, dumpRoutes, getLinkByName } from "../link/rtnetlink.ts";
import { missingVlan } from "../link/vlan.ts";
import { hostPortElements, ownerMark, sameOwner } from "../nft/host-ports.ts";
import { addressBytes, formatPrefix, networkOf, parsePrefix } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Result, ResultIp } from "../spec/result.ts";
import { ownerOf } from "./addresses.ts";
import type { Context, Request } from "./context.ts";

function failed(message: string): CniError {
  return new CniError(codes.checkFailed, message);
}

/** The addresses of this attachment's interface; later plugins of the chain may have added others. */
function ownIps(request: Request, result: Result): readonly ResultIp[] {
  return result.ips.filter((ip) => {
    const target = ip.interface === undefined ? undefined : result.interfaces[ip.interface];
    return target === undefined || target.name === request.call.ifName;
  });
}

async function checkHostSide(context: Context, request: Request): Promise<void> {
  const { config, call } = request;
  const name = hostLinkName(networkKey(config), call.containerId, call.ifName);
  const [link, bridge] = await Promise.all([
    context.host.findLink(name),
    context.host.findLink(config.bridge),
  ]);
  if (bridge === undefined) throw failed(`bridge ${config.bridge} is gone`);
  if (bridge.kind !== "bridge") throw failed(`${config.bridge} is no bridge`);
  if (link === undefined) throw failed(`${name}, the host's end of ${call.ifName}, is gone`);
  if (link.master !== bridge.index) throw failed(`${name} is not a port of ${config.bridge}`);
  if (!link.up) throw failed(`${name} is down`);
  const vlan =
    config.vlan === undefined ? undefined : await missingVlan(context.host, link.index, config.vlan);
  if (vlan !== undefined) throw failed(`${name} is not in VLAN ${vlan}`);
}

async function checkPodSide(context: Context, request: Request, netns: Netns, result: Result): Promise<void> {
  const { call } = request;
  const channel = context.host.enter(netns, () => undefined);
  try {
    const [found] = await channel.request([getLinkByName(call.ifName)]);
    const link: Link | undefined = linkOf(found);
    if (link === undefined) throw failed(`${call.ifName} is gone from ${call.netns}`);
    if (!link.up) throw failed(`${call.ifName} is down`);
    const entry = result.interfaces.find(
      (candidate) => candidate.name === call.ifName && (candidate.sandbox ?? "") !== "",
    );
    if (entry?.mac !== undefined && entry.mac !== "" && entry.mac.toLowerCase() !== link.mac) {
      throw failed(`${call.ifName} has MAC ${link.mac}, not ${entry.mac}`);
    }
    await checkAddresses(channel, link, request, result);
    await checkRoutes(channel, result);
  } finally {
    channel.close();
  }
}

type PodChannel = ReturnType<Context["host"]["enter"]>;

async function checkAddresses(
  channel: PodChannel,
  link: Link,
  request: Request,
  result: Result,
): Promise<void> {
  const dump = await channel.dump(`list addresses of ${link.name}`, dumpAddresses(link.index));
  const present = new Set(
    (dump ?? [])
      .map(decodeAddress)
      .filter((entry) => entry.index === link.index)
      .map((entry) => formatPrefix(entry.prefix)),
  );
  for (const ip of ownIps(request, result)) {
    const wanted = formatPrefix(parsePrefix(ip.address, "prevResult.ips"));
    if (!present.has(wanted)) throw failed(`${request.call.ifName} has lost its address ${wanted}`);
  }
}

async function checkRoutes(channel: PodChannel, result: Result): Promise<void> {
  for (const family of [4, 6] as const) {
    const wanted = result.routes
      .map((route) => ({ route, dst: parsePrefix(route.dst, "prevResult.routes") }))
      .filter(({ dst }) => dst.address.family === family);
    if (wanted.length === 0 || !result.ips.some((ip) => ip.family === family)) continue;
    const present = ((await channel.dump("list routes", dumpRoutes(family))) ?? []).map(decodeRoute);
    for (const { route, dst } of wanted) {
      const hex = dst.length === 0 ? "" : addressBytes(networkOf(dst)).toString("hex");
      const gateway =
        route.gw === undefined
          ? undefined
          : addressBytes(
              parsePrefix(`${route.gw}/${family === 4 ? 32 : 128}`, "prevResult.routes").address,
            ).toString("hex");
      const found = present.some(
        (candidate) =>
          candidate.dst === hex &&
          candidate.length === dst.length &&
          (gateway === undefined || candidate.gateway === gateway),
      );
      if (!found) throw failed(`the route to ${route.dst} is gone`);
    }
  }
}

async function checkLeases(context: Context, request: Request, result: Result): Promise<void> {
  const { ipam } = request.config;
  if (ipam === undefined) return;
  if (ipam.kind === "foreign") {
    await context.delegate(ipam.type, request.call, request.env, request.config);
    return;
  }
  const pool = await context.pool(ipam.dataDir, request.config.name);
  const owner = ownerOf(request);
  for (const ip of ownIps(request, result)) {
    const { address } = parsePrefix(ip.address, "prevResult.ips");
    if (!ipam.sets.flat().some((range) => range.subnet.address.family === address.family)) continue;
    const lease = await pool.store.read(address);
    if (lease?.owner?.containerId !== owner.containerId) throw failed(`the lease of ${ip.address} is gone`);
  }
}

/** The host ports lead to the pod, and are its own. */
export async function checkPorts(context: Context, request: Request, result: Result): Promise<void> {
  const mappings = request.config.runtime.portMappings ?? [];
  if (mappings.length === 0) return;
  const { containerId, ifName } = request.call;
  const addresses = ownIps(request, result).map((ip) => parsePrefix(ip.address, "prevResult.ips").address);
  const mark = ownerMark({ hostLink: "-", network: request.config.name, containerId, ifName });
  const wanted = hostPortElements(mappings, addresses, mark);
  const present = await context.table.find(wanted);
  for (const [index, element] of wanted.entries()) {
    const found = present[index];
    if (found === undefined || !found.value.equals(element.value) || !sameOwner(found.owner, mark)) {
      throw failed(`a host port of map ${element.map} is gone or another pod's`);
    }
  }
}

/** CHECK: every part that ADD made is still there. What later plugins of the chain added is not looked at. */
export async function check(context: Context, request: Request): Promise<void> {
  const { config, call } = request;
  const result = config.prevResult;
  if (result === undefined) throw new CniError(codes.invalidConfig, "CHECK needs prevResult");
  const netns = await context.host.openNetns(call.netns, request.netnsFd);
  try {
    await Promise.all([
      checkHostSide(context, request),
      checkPodSide(context, request, netns, result),
      checkLeases(context, request, result),
      checkPorts(context, request, result),
    ]);
  } finally {
    await netns.close();
  }
}
