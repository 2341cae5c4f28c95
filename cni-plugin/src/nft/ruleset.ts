import type { NetworkKey } from "../link/names.ts";
import { networkTag } from "../link/names.ts";
import type { Prefix } from "../spec/address.ts";
import { formatPrefix, parsePrefix } from "../spec/address.ts";
import type { Isolation } from "../spec/config.ts";
import { hashText } from "../spec/hash.ts";
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
  noPriority,
  notMulticast,
  setPriority,
  toLocalAddress,
  translated,
  verdict,
} from "./expressions.ts";
import type { BaseChain, MapSpec, SetSpec } from "./messages.ts";
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

const types = { ipv4: 7, ipv6: 8, proto: 12, service: 13, classid: 23 } as const;

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

/**
 * The number of the namespace that a pod's address is of, and the same the other way round: a rule can look up what it
 * has found, not compare it.
 */
export const namespaceMaps = {
  4: { name: "namespaces4", keyType: types.ipv4, keyLength: 4, dataType: types.classid, dataLength: 4 },
  6: { name: "namespaces6", keyType: types.ipv6, keyLength: 16, dataType: types.classid, dataLength: 4 },
} as const satisfies Record<4 | 6, MapSpec>;

export const namespaceMembers = {
  4: { name: "namespaces4_pods", keyType: concatenated(types.classid, types.ipv4), keyLength: 8 },
  6: { name: "namespaces6_pods", keyType: concatenated(types.classid, types.ipv6), keyLength: 20 },
} as const satisfies Record<4 | 6, SetSpec>;

/** The numbers that are taken; an element's comment is the namespace's name. */
export const namespaceNumbers = {
  name: "namespaces",
  keyType: types.classid,
  keyLength: 4,
} as const satisfies SetSpec;

/** Every set with elements that belong to a pod. */
export const podSets: readonly (SetSpec | MapSpec)[] = [
  ...Object.values(maps),
  ...Object.values(namespaceMaps),
  ...Object.values(namespaceMembers),
  namespaceNumbers,
];

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

/**
 * Goes into the comments of chains, by which the kernel's are known to be as they should. To be raised when any rule
 * changes; a test keeps watch.
 */
export const rulesVersion = 1;

type Rules = BaseChain["rules"];

function natChain(name: string, hook: number, priority: number, words: string, rules: Rules): BaseChain {
  return { name, type: "nat", hook, priority, comment: `${words} #${rulesVersion}`, rules };
}

function filterChain(name: string, hook: number, priority: number, words: string, rules: Rules): BaseChain {
  return { name, type: "filter", hook, priority, comment: `${words} #${rulesVersion}`, rules };
}

function returnPathRules(): ReturnType<Rules> {
  return [
    [...marked(masqueradeBit), ...translated(), masquerade()],
    [
      ...family(4),
      ...network("source", "equal", loopback4),
      ...interfaceName("oifname", "differs", "lo"),
      ...translated(),
      masquerade(),
    ],
  ];
}

/** With route_localnet a neighbour could reach what listens on 127.0.0.1 only (CVE-2020-8558). */
function loopbackGuardRules(): ReturnType<Rules> {
  const fromOutside = interfaceName("iifname", "differs", "lo");
  return [[...fromOutside, ...family(4), ...network("destination", "equal", loopback4), verdict("drop")]];
}

/** A pod's way to a host port of a pod beside it, or of its own: the answer has to come back by this host. */
function fromPodsRules(): ReturnType<Rules> {
  return hostPortRules([loadMeta("iifname"), member(deviceSet)], markPacket(masqueradeBit));
}

const openRules: Rules = () => hostPortRules([], []);

/** Chains that all networks share; a pod is an element in a map that they look up. */
export const sharedChains: readonly BaseChain[] = [
  natChain("hostports-pods", hooks.prerouting, hairpinDstNat, "host ports, from pods", fromPodsRules),
  natChain("hostports", hooks.prerouting, dstNat, "host ports, from outside", openRules),
  natChain("hostports-local", hooks.output, dstNat, "host ports, from this host", openRules),
  natChain("return-path", hooks.postrouting, srcNat, "answers must come back by this host", returnPathRules),
  filterChain(
    "loopback-guard",
    hooks.prerouting,
    rawPriority,
    "127.0.0.0/8 is this host's own",
    loopbackGuardRules,
  ),
];

/** The masquerade of a network: one rule for each of its subnets. */
export function masqueradeChain(key: NetworkKey, subnets: readonly Prefix[]): BaseChain {
  const list = subnets.map(formatPrefix).join(", ");
  // A comment has room for a few subnets only; the hash tells any change.
  const words = `${key.name} on ${key.bridge}: ${list.slice(0, 100)} ${hashText(list).slice(0, 8)}`;
  return natChain(`masquerade-${networkTag(key)}`, hooks.postrouting, srcNat, words, () =>
    subnets.map((subnet) => [
      ...family(subnet.address.family),
      ...network("source", "equal", subnet),
      ...network("destination", "differs", subnet),
      ...notMulticast(),
      masquerade(),
    ]),
  );
}

/**
 * Accepts when sender and receiver have one namespace. Between the two look-ups its number is kept in the packet's
 * priority: nft has no other place for it, save the marks, which belong to others. Forwarded packets come here with what
 * their type of service stands for, which is below any such number, and only first packets do.
 */
function sameNamespaceRules(version: 4 | 6, guard: readonly Buffer[]): readonly (readonly Buffer[])[] {
  const [length, source, destination] = version === 4 ? [4, 12, 16] : [16, 8, 24];
  return [
    [
      ...guard,
      ...family(version),
      loadPayload("network", source, length, firstRegister),
      lookup(namespaceMaps[version].name),
      setPriority(),
    ],
    [
      ...guard,
      ...family(version),
      loadMeta("priority"),
      loadPayload("network", destination, length, firstRegister + 1),
      member(namespaceMembers[version].name),
      ...noPriority(),
      verdict("accept"),
    ],
  ];
}

/**
 * Keeps pods of other bridges, with "isolated" those of the same bridge too, and with "same-namespace" those of other
 * namespaces, from beginning a conversation. Host ports were published on purpose, so they stay open.
 */
export function isolationChain(
  key: NetworkKey,
  device: string,
  policy: Exclude<Isolation, "open">,
): BaseChain {
  const to = interfaceName("oifname", "equal", device);
  const pods = [loadMeta("iifname"), member(deviceSet)];
  const others = [...interfaceName("iifname", "differs", device), ...pods];
  const own = interfaceName("iifname", "equal", device);
  const forbidden = (from: readonly Buffer[]): readonly Buffer[] => [
    ...to,
    ...from,
    ...firstPacket(),
    verdict("drop"),
  ];
  const words = `${policy} for ${key.name} on ${device}`;
  return filterChain(`isolation-${networkTag(key)}`, hooks.forward, filterPriority, words, () => [
    [...to, ...marked(masqueradeBit), ...translated(), verdict("accept")],
    ...(policy === "same-namespace"
      ? [
          ...sameNamespaceRules(4, [...to, ...pods, ...firstPacket()]),
          ...sameNamespaceRules(6, [...to, ...pods, ...firstPacket()]),
          forbidden(pods),
        ]
      : [forbidden(others)]),
    ...(policy === "isolated" ? [forbidden(own)] : []),
  ]);
}

/** Names of all chains that a network can have. */
export function networkChainNames(key: NetworkKey): readonly string[] {
  const tag = networkTag(key);
  return [`masquerade-${tag}`, `isolation-${tag}`];
}
