import type { Netns } from "../link/host.ts";
import { hostLinkName, linkAlias, linkLocalOf, macOfAddress, macOfName, networkKey } from "../link/names.ts";
import type { Link, RouteSpec } from "../link/rtnetlink.ts";
import { limitBandwidth, shaperName } from "../link/shape.ts";
import { configurePod, createVeth, restoreIpv6, withholdIpv6 } from "../link/veth.ts";
import type { Address, Family, Prefix } from "../spec/address.ts";
import {
  bitsOf,
  formatAddress,
  formatPrefix,
  networkOf,
  parseAddress,
  parsePrefix,
} from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Result, ResultRoute } from "../spec/result.ts";
import type { Assignment } from "./addresses.ts";
import { assign, gatewaysOf } from "./addresses.ts";
import type { Context, NetworkReady, Request } from "./context.ts";
import { inPod } from "./in-pod.ts";
import { joinNamespace } from "./namespaces.ts";
import { ensureNetwork } from "./network.ts";
import { claimPorts } from "./ports.ts";
import type { Undo } from "./undo.ts";

/** The routes as asked for, plus the default routes that isDefaultGateway stands for. */
function wantedRoutes(request: Request, assignment: Assignment): readonly ResultRoute[] {
  const routes = [...assignment.routes];
  if (!request.config.isDefaultGateway) return routes;
  for (const { prefix, gateway } of assignment.addresses) {
    const dst = prefix.address.family === 4 ? "0.0.0.0/0" : "::/0";
    if (gateway !== undefined && !routes.some((route) => route.dst === dst)) {
      routes.push({ dst, gw: formatAddress(gateway) });
    }
  }
  return routes;
}

/** A route without a gateway goes by that of the family's first address, as the specification has it. */
function routeSpecs(
  routes: readonly ResultRoute[],
  assignment: Assignment,
  index: number,
): readonly RouteSpec[] {
  const gatewayOf = (family: Family): Address | undefined =>
    assignment.addresses.find((entry) => entry.prefix.address.family === family)?.gateway;
  return routes.flatMap((route) => {
    const dst = parsePrefix(route.dst, "routes.dst");
    const { family } = dst.address;
    if (!assignment.addresses.some((entry) => entry.prefix.address.family === family)) return [];
    const { mtu, advmss, priority, table, scope } = route;
    const gateway =
      route.gw !== undefined && route.gw !== ""
        ? parseAddress(route.gw, "routes.gw")
        : scope === undefined || scope < 253
          ? gatewayOf(family)
          : undefined;
    const options = {
      ...(mtu === undefined ? {} : { mtu }),
      ...(advmss === undefined ? {} : { advmss }),
      ...(priority === undefined ? {} : { priority }),
      ...(table === undefined ? {} : { table }),
      ...(scope === undefined ? {} : { scope }),
    };
    return [{ dst, gateway, index, options }];
  });
}

/** To the gateway, and by it to the network that the pod's address is of. */
function gatewayRoutes(assignment: Assignment, index: number): readonly RouteSpec[] {
  return assignment.addresses.flatMap(({ prefix, gateway }) => {
    if (gateway === undefined) {
      const message = `ingressPolicy "same-namespace" needs a gateway for ${formatPrefix(prefix)}`;
      throw new CniError(codes.invalidConfig, message);
    }
    const itself = { address: gateway, length: bitsOf(gateway.family) };
    const network = { address: networkOf(prefix), length: prefix.length };
    return [
      { dst: itself, gateway: undefined, index, options: {} },
      { dst: network, gateway, index, options: {} },
    ];
  });
}

function podMac(request: Request, assignment: Assignment): string {
  const { config, call } = request;
  const asked = config.runtime.mac ?? config.mac ?? call.args.get("MAC");
  if (asked !== undefined && asked !== "") return asked.toLowerCase();
  const first = assignment.addresses[0];
  return first === undefined
    ? macOfName(`${call.containerId} ${call.ifName}`)
    : macOfAddress(first.prefix.address);
}

function isOccupied(error: unknown): boolean {
  return error instanceof CniError && error.code === codes.invalidEnvironment;
}

async function attachLink(
  context: Context,
  request: Request,
  netns: Netns,
  network: NetworkReady,
  assignment: Assignment,
  undo: Undo,
  renew: () => Promise<NetworkReady>,
): Promise<Link> {
  const { config, call } = request;
  const key = networkKey(config);
  const hostName = hostLinkName(key, call.containerId, call.ifName);
  const spec = {
    hostName,
    alias: linkAlias(key, call.containerId, call.ifName),
    podName: call.ifName,
    podMac: podMac(request, assignment),
    mtu: config.mtu,
    hairpin: config.hairpinMode,
    isolated: network.isolatedPorts,
    ipv6: network.ipv6,
    vlan: config.vlan,
  };
  const remove = (): Promise<unknown> => context.unlink.detach([hostName, shaperName(hostName)]);
  const create = async (bridge: number): Promise<Link> => {
    try {
      return await createVeth(context.host, { ...spec, bridge }, netns);
    } catch (error) {
      // The link may be there all the same: a later step failed, or the kernel's answer was late. But a link that was
      // there before is a living pod's.
      if (!isOccupied(error)) await remove();
      throw error;
    }
  };
  const createAgain = async (): Promise<Link> => {
    // The pod's end may belong to a link whose deletion is only queued; the bridge may have been deleted by someone.
    await context.unlink.purge();
    return create((await renew()).bridge);
  };
  context.unlink.postpone();
  const link = await create(network.bridge).catch((error: unknown) => {
    if (error instanceof CniError) return createAgain();
    throw error;
  });
  undo.push(`remove ${hostName}`, remove);
  return link;
}

function resultOf(
  request: Request,
  network: NetworkReady,
  link: Link,
  routes: readonly ResultRoute[],
  assignment: Assignment,
): Result {
  const { config, call } = request;
  const dns = Object.keys(config.dns).length > 0 ? config.dns : assignment.dns;
  return {
    interfaces: [
      { name: config.bridge, mac: network.bridgeMac, mtu: network.bridgeMtu },
      { name: link.name, mac: link.mac, mtu: link.mtu },
      { name: call.ifName, mac: podMac(request, assignment), mtu: link.mtu, sandbox: call.netns },
    ],
    ips: assignment.addresses.map(({ prefix, gateway }) => ({
      family: prefix.address.family,
      address: formatPrefix(prefix),
      ...(gateway === undefined ? {} : { gateway: formatAddress(gateway) }),
      interface: 2,
    })),
    routes,
    dns,
  };
}

async function shape(context: Context, request: Request, link: Link): Promise<void> {
  const { bandwidth } = request.config.runtime;
  if (bandwidth !== undefined) await limitBandwidth(context.host, link, shaperName(link.name), bandwidth);
}

function gatewaysOfAssignment(assignment: Assignment): readonly Prefix[] {
  return assignment.addresses.flatMap(({ prefix, gateway }) =>
    gateway === undefined ? [] : [{ address: gateway, length: prefix.length }],
  );
}

async function build(context: Context, request: Request, netns: Netns, undo: Undo): Promise<Result> {
  const { config, call } = request;
  const early = gatewaysOf(config);
  // With ranges of our own the gateways are known, so bridge and rules are looked after while the address is chosen.
  const preparing = early === undefined ? undefined : ensureNetwork(context, config, early);
  preparing?.catch(() => undefined);
  const assignment = await assign(context, request, netns.inode, undo);
  const gateways = early ?? gatewaysOfAssignment(assignment);
  const network = await (preparing ?? ensureNetwork(context, config, gateways));
  const renew = (): Promise<NetworkReady> => {
    context.networks.clear();
    return ensureNetwork(context, config, gateways);
  };
  const addresses = assignment.addresses.map((entry) => entry.prefix);
  const has6 = addresses.some(({ address }) => address.family === 6);
  const ipv6Withheld = !has6 && withholdIpv6(context.host, netns);
  if (ipv6Withheld) undo.push("let new interfaces have IPv6", async () => restoreIpv6(context.host, netns));
  const link = await attachLink(context, request, netns, network, assignment, undo, renew);
  const routes = wantedRoutes(request, assignment);
  const byGateway = config.ingressPolicy === "same-namespace";
  const configuring = configurePod(context.host, netns, {
    ifName: call.ifName,
    index: link.peer,
    addresses,
    routes: [
      ...(byGateway ? gatewayRoutes(assignment, link.peer) : []),
      ...routeSpecs(routes, assignment, link.peer),
    ],
    byGateway,
    linkLocal: linkLocalOf(podMac(request, assignment)),
    ipv6: network.ipv6,
    ipv6Withheld,
  });
  const plain = addresses.map((prefix) => prefix.address);
  // All of them only need the link. If one fails, the others still have to end before anything is undone.
  const outcomes = await Promise.allSettled([
    configuring,
    claimPorts(context, request, link.name, plain, undo),
    joinNamespace(context, request, link.name, plain, undo),
    shape(context, request, link),
  ]);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return resultOf(request, network, link, routes, assignment);
}

/** ADD: all or nothing. */
export function add(context: Context, request: Request): Promise<Result> {
  return inPod(context, request, (netns, undo) => build(context, request, netns, undo));
}
