import type { NetworkKey } from "../link/names.ts";
import { networkTag } from "../link/names.ts";
import type { Prefix } from "../spec/address.ts";
import { formatPrefix, parsePrefix } from "../spec/address.ts";
import type { Isolation } from "../spec/config.ts";
import { hashBytes, hashText } from "../spec/hash.ts";
import {
  destinationNat,
  family,
  firstPacket,
  firstRegister,
  interfaceName,
  loadMeta,
  loadPayload,
  lookup,
  marked,
  markPacket,
  masquerade,
  member,
  network,
  notMulticast,
  toLocalAddress,
  translated,
  verdict,
} from "./expressions.ts";
import type { BaseChain, MapSpec } from "./messages.ts";
import { deviceSet } from "./messages.ts";

const hooks = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

// One below kube-proxy's and the iptables NAT chains' own priorities (linux/netfilter_ipv4.h).
const dstNat = -101;
const srcNat = 99;
const hairpinDstNat = -102;
const rawPriority = -300;
const filterPriority = -1;

/** Bit 13 of the packet mark, which the reference port-mapping plugin has for the same purpose. */
const masqueradeBit = 0x2000;

const types = { ipv4: 7, ipv6: 8, proto: 12, service: 13 } as const;

function concatenated(...parts: readonly number[]): number {
  return parts.reduce((type, part) => (type << 6) | part, 0);
}

/** Host ports: on every address of the host, and on one address. The value is where the pod listens. */
export const maps = {
  any4: {
    name: "hostports4",
    keyType: concatenated(types.proto, types.service),
    keyLength: 8,
    dataType: concatenated(types.ipv4, types.service),
    dataLength: 8,
  },
  at4: {
    name: "hostports4_at",
    keyType: concatenated(types.ipv4, types.proto, types.service),
    keyLength: 12,
    dataType: concatenated(types.ipv4, types.service),
    dataLength: 8,
  },
  any6: {
    name: "hostports6",
    keyType: concatenated(types.proto, types.service),
    keyLength: 8,
    dataType: concatenated(types.ipv6, types.service),
    dataLength: 20,
  },
  at6: {
    name: "hostports6_at",
    keyType: concatenated(types.ipv6, types.proto, types.service),
    keyLength: 24,
    dataType: concatenated(types.ipv6, types.service),
    dataLength: 20,
  },
} as const satisfies Record<string, MapSpec>;

/** Loads the key of a map: [address,] protocol, port, each in registers of its own. */
function loadKey(version: 4 | 6, withAddress: boolean): readonly Buffer[] {
  const words = version === 4 ? 1 : 4;
  const behind = firstRegister + (withAddress ? words : 0);
  return [
    ...(withAddress ? [loadPayload("network", version === 4 ? 16 : 24, words * 4, firstRegister)] : []),
    loadMeta("l4proto", behind),
    loadPayload("transport", 2, 2, behind + 1),
  ];
}

/** A port on one address goes before the same port on all. */
function hostPortRules(guard: readonly Buffer[], onMatch: readonly Buffer[]): readonly (readonly Buffer[])[] {
  return ([4, 6] as const).flatMap((version) => [
    [
      ...guard,
      ...family(version),
      ...loadKey(version, true),
      lookup(version === 4 ? maps.at4.name : maps.at6.name),
      ...onMatch,
      destinationNat(version),
    ],
    [
      ...guard,
      ...family(version),
      ...toLocalAddress(),
      ...loadKey(version, false),
      lookup(version === 4 ? maps.any4.name : maps.any6.name),
      ...onMatch,
      destinationNat(version),
    ],
  ]);
}

const loopback4 = parsePrefix("127.0.0.0/8", "loopback");

function withFingerprint(chain: Omit<BaseChain, "comment">, words: string): BaseChain {
  const content = Buffer.concat(chain.rules.flat());
  const fingerprint = hashText(`${chain.type} ${chain.hook} ${chain.priority} ${words}`, hashBytes(content));
  return { ...chain, comment: `${words} #${fingerprint.slice(0, 8)}` };
}

function returnPath(): BaseChain {
  return withFingerprint(
    {
      name: "return-path",
      type: "nat",
      hook: hooks.postrouting,
      priority: srcNat,
      rules: [
        [...marked(masqueradeBit), ...translated(), masquerade()],
        [
          ...family(4),
          ...network("source", "equal", loopback4),
          ...interfaceName("oifname", "differs", "lo"),
          ...translated(),
          masquerade(),
        ],
      ],
    },
    "answers must come back by this host",
  );
}

/** With route_localnet a neighbour could reach what listens on 127.0.0.1 only (CVE-2020-8558). */
function loopbackGuard(): BaseChain {
  const rule = [
    ...interfaceName("iifname", "differs", "lo"),
    ...family(4),
    ...network("destination", "equal", loopback4),
    verdict("drop"),
  ];
  return withFingerprint(
    { name: "loopback-guard", type: "filter", hook: hooks.prerouting, priority: rawPriority, rules: [rule] },
    "127.0.0.0/8 is this host's own",
  );
}

/** Chains that all networks share; a pod is an element in a map that they look up. */
export function sharedChains(): readonly BaseChain[] {
  const rules = hostPortRules([], []);
  const fromPods = [loadMeta("iifname"), member(deviceSet)];
  return [
    // A pod's way to a host port of a pod beside it, or of its own: the answer has to come back by this host.
    withFingerprint(
      {
        name: "hostports-pods",
        type: "nat",
        hook: hooks.prerouting,
        priority: hairpinDstNat,
        rules: hostPortRules(fromPods, markPacket(masqueradeBit)),
      },
      "host ports, from pods",
    ),
    withFingerprint(
      { name: "hostports", type: "nat", hook: hooks.prerouting, priority: dstNat, rules },
      "host ports, from outside",
    ),
    withFingerprint(
      { name: "hostports-local", type: "nat", hook: hooks.output, priority: dstNat, rules },
      "host ports, from this host",
    ),
    returnPath(),
    loopbackGuard(),
  ];
}

/** The masquerade of a network: one rule for each of its subnets. */
export function masqueradeChain(key: NetworkKey, subnets: readonly Prefix[]): BaseChain {
  const rules = subnets.map((subnet) => [
    ...family(subnet.address.family),
    ...network("source", "equal", subnet),
    ...network("destination", "differs", subnet),
    ...notMulticast(),
    masquerade(),
  ]);
  const words = `${key.name} on ${key.bridge}: ${subnets.map(formatPrefix).join(", ")}`.slice(0, 100);
  return withFingerprint(
    { name: `masquerade-${networkTag(key)}`, type: "nat", hook: hooks.postrouting, priority: srcNat, rules },
    words,
  );
}

/**
 * Keeps pods of other bridges, and with "isolated" those of the same bridge too, from beginning a conversation. Host
 * ports were published on purpose, so they stay open.
 */
export function isolationChain(key: NetworkKey, policy: Exclude<Isolation, "open">): BaseChain {
  const to = interfaceName("oifname", "equal", key.bridge);
  const others = [...interfaceName("iifname", "differs", key.bridge), loadMeta("iifname"), member(deviceSet)];
  const own = interfaceName("iifname", "equal", key.bridge);
  const forbidden = (from: readonly Buffer[]): readonly Buffer[] => [
    ...to,
    ...from,
    ...firstPacket(),
    verdict("drop"),
  ];
  return withFingerprint(
    {
      name: `isolation-${networkTag(key)}`,
      type: "filter",
      hook: hooks.forward,
      priority: filterPriority,
      rules: [
        [...to, ...marked(masqueradeBit), ...translated(), verdict("accept")],
        forbidden(others),
        ...(policy === "isolated" ? [forbidden(own)] : []),
      ],
    },
    `${policy} for ${key.name} on ${key.bridge}`,
  );
}

/** Names of all chains that a network can have. */
export function networkChainNames(key: NetworkKey): readonly string[] {
  const tag = networkTag(key);
  return [`masquerade-${tag}`, `isolation-${tag}`];
}
