import { errnos } from "../kernel/libc.ts";
import { ensureBridge, hasIpv6, rulesSeeBridged, setSysctl } from "../link/bridge.ts";
import { runSteps } from "../link/host.ts";
import { gatewayDevice, hostLinkName, networkKey, networkTag, parseAlias } from "../link/names.ts";
import { portStep } from "../link/veth.ts";
import { acceptForwarding } from "../nft/forward.ts";
import { isolationChain, masqueradeChain, networkChainNames, sharedChains } from "../nft/ruleset.ts";
import type { Prefix } from "../spec/address.ts";
import { formatPrefix, networkOf } from "../spec/address.ts";
import type { NetConfig } from "../spec/config.ts";
import type { Context, NetworkReady } from "./context.ts";

const freshMs = 1_000;

/** Whether the network needs the packet filter at all. */
export function needsTable(config: NetConfig): boolean {
  return config.ipMasq || config.ingressPolicy !== "open" || (config.runtime.portMappings?.length ?? 0) > 0;
}

async function ensureTable(context: Context, config: NetConfig, subnets: readonly Prefix[]): Promise<void> {
  // The configuration may have asked for rules before.
  if (!needsTable(config)) return context.table.removeChains(networkChainNames(networkKey(config)));
  const key = networkKey(config);
  const chains = [
    ...sharedChains,
    ...(config.ipMasq ? [masqueradeChain(key, subnets)] : []),
    ...(config.ingressPolicy === "open"
      ? []
      : [isolationChain(key, gatewayDevice(config), config.ingressPolicy)]),
  ];
  const lock = await context.lockTable();
  try {
    await context.table.ensure(chains, networkChainNames(key), gatewayDevice(config));
  } finally {
    await lock.release();
  }
}

/**
 * Pods that must not meet have ports that the bridge doesn't connect, save where rules see what the bridge passes on: there
 * they suffice, and with such ports services and host ports of pods on the same bridge would be cut off.
 */
async function wantsIsolatedPorts({ portIsolation, ingressPolicy }: NetConfig): Promise<boolean> {
  if (portIsolation) return true;
  const meet = ingressPolicy === "open" || ingressPolicy === "same-bridge";
  return !meet && !(await rulesSeeBridged());
}

/** For networks whose pods must not meet: follows what other programs have made of br_netfilter since ADD. */
async function healPorts(context: Context, config: NetConfig): Promise<void> {
  if (config.ingressPolicy !== "isolated" && config.ingressPolicy !== "same-namespace") return;
  const isolated = await wantsIsolatedPorts(config);
  const key = networkKey(config);
  const wrong = (await context.host.listLinks()).filter((link) => {
    const owner = parseAlias(link.alias);
    return (
      link.isolated !== isolated &&
      owner?.network === key.name &&
      link.name === hostLinkName(key, owner.containerId, owner.ifName)
    );
  });
  if (wrong.length === 0) return;
  await runSteps(
    context.host.route,
    wrong.map(({ name }) => ({ ...portStep(name, { isolated }), ignore: errnos.ENODEV })),
  );
}

async function prepare(
  context: Context,
  config: NetConfig,
  gateways: readonly Prefix[],
  subnets: readonly Prefix[],
): Promise<NetworkReady> {
  context.watch(config, gateways);
  const device = gatewayDevice(config);
  const [bridge] = await Promise.all([
    ensureBridge(context.host, {
      name: config.bridge,
      mtu: config.mtu,
      promisc: config.promiscMode,
      vlan: config.vlan,
      device,
      gateways: config.isGateway ? gateways : [],
      forceAddress: config.forceAddress,
    }),
    ensureTable(context, config, subnets),
  ]);
  await letForward(context, config);
  // A host port on 127.0.0.1 leaves by the bridge with that source, until the return path replaces it.
  if ((config.runtime.portMappings?.length ?? 0) > 0) {
    await setSysctl(`ipv4/conf/${device}/route_localnet`, "1");
  }
  return {
    bridge: bridge.index,
    bridgeMac: bridge.mac,
    bridgeMtu: bridge.mtu,
    ipv6: await hasIpv6(),
    isolatedPorts: await wantsIsolatedPorts(config),
    at: performance.now(),
  };
}

/**
 * Puts rules back that another program has flushed, and has pods' packets accepted by a firewall that came after them, as
 * long as the network is there.
 */
export async function healRules(
  context: Context,
  config: NetConfig,
  gateways: readonly Prefix[],
): Promise<void> {
  await context.table.remember();
  if ((await context.host.findLink(config.bridge)) === undefined) return;
  await letForward(context, config);
  if (!needsTable(config)) return;
  await ensureTable(context, config, gateways.map(subnetOf));
  await healPorts(context, config);
}

async function letForward(context: Context, config: NetConfig): Promise<void> {
  if (!config.forwardAccept || !config.isGateway) return;
  await acceptForwarding(context.host, gatewayDevice(config), () => context.lockTable());
}

function subnetOf(gateway: Prefix): Prefix {
  return { ...gateway, address: networkOf(gateway) };
}

/** Makes bridge, gateway addresses and rules what they have to be; a burst of pods shares one look. */
export async function ensureNetwork(
  context: Context,
  config: NetConfig,
  gateways: readonly Prefix[],
): Promise<NetworkReady> {
  const subnets = gateways.map(subnetOf);
  const key = [
    networkTag(networkKey(config)),
    gateways.map(formatPrefix).join(","),
    config.isGateway,
    config.ipMasq,
    (config.runtime.portMappings?.length ?? 0) > 0,
    config.promiscMode,
    config.ingressPolicy,
    config.portIsolation,
    config.forwardAccept,
    config.forceAddress,
    config.mtu,
    JSON.stringify(config.vlan),
  ].join(" ");
  const known = context.networks.get(key);
  if (known !== undefined) {
    const ready = await known.catch(() => undefined);
    if (ready !== undefined && performance.now() - ready.at < freshMs) return ready;
  }
  if (context.networks.get(key) === known)
    context.networks.set(key, prepare(context, config, gateways, subnets));
  const next = context.networks.get(key);
  if (next === undefined) throw new Error("unreachable: the promise was set just now");
  try {
    return await next;
  } catch (error) {
    if (context.networks.get(key) === next) context.networks.delete(key);
    throw error;
  }
}
