import { readdir, readFile, writeFile } from "node:fs/promises";
import { errnos } from "../kernel/libc.ts";
import type { Prefix } from "../spec/address.ts";
import { contains, formatPrefix } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Host, Step } from "./host.ts";
import { linkOf, runSteps } from "./host.ts";
import { macOfAddress, macOfName } from "./names.ts";
import type { Link } from "./rtnetlink.ts";
import {
  decodeAddress,
  deleteAddress,
  dumpAddresses,
  getLinkByName,
  IFF_PROMISC,
  IFF_UP,
  ifInfo,
  ifla,
  macBytes,
  newAddress,
  noGeneratedAddress,
  rtm,
  setLink,
} from "./rtnetlink.ts";
import { attr, flags, nested, text, u32 } from "./wire.ts";

export interface BridgeSpec {
  readonly name: string;
  readonly mtu: number | undefined;
  readonly promisc: boolean;
  /** The bridge's own addresses: the pods' gateways. */
  readonly gateways: readonly Prefix[];
  /** Take addresses away that conflict, instead of failing. */
  readonly forceAddress: boolean;
}

/** Sysctls of the process's own namespace; files of /proc/sys/net follow the opening thread, and pool threads never move. */
export async function setSysctl(path: string, value: string): Promise<void> {
  const file = `/proc/sys/net/${path}`;
  if ((await readFile(file, "utf8")).trim() === value) return;
  await writeFile(file, value);
}

/** Whether this kernel has IPv6 at all. */
export async function hasIpv6(): Promise<boolean> {
  return readFile("/proc/sys/net/ipv6/conf/all/disable_ipv6").then(
    () => true,
    () => false,
  );
}

function creation(spec: BridgeSpec): Step {
  const gateway = spec.gateways[0];
  // A MAC of the bridge's own: one that is taken from its ports changes with them, and breaks neighbours and conntrack.
  const mac = gateway === undefined ? macOfName(spec.name) : macOfAddress(gateway.address);
  const body = Buffer.concat([
    ifInfo(0),
    text(ifla.ifname, spec.name),
    attr(ifla.address, macBytes(mac)),
    ...(spec.mtu === undefined ? [] : [u32(ifla.mtu, spec.mtu)]),
    nested(ifla.linkInfo, text(ifla.infoKind, "bridge")),
  ]);
  return {
    action: `create bridge ${spec.name}`,
    message: { type: rtm.newLink, flags: flags.create | flags.excl, body },
    ignore: errnos.EEXIST,
  };
}

async function findOrCreate(host: Host, spec: BridgeSpec): Promise<Link> {
  const found = await host.findLink(spec.name);
  if (found !== undefined) return found;
  const replies = await runSteps(host.route, [
    creation(spec),
    { action: `find bridge ${spec.name}`, message: getLinkByName(spec.name) },
  ]);
  const created = linkOf(replies[1]);
  if (created === undefined)
    throw new CniError(codes.internal, `bridge ${spec.name} vanished while it was made`);
  if (created.kind === "bridge" && (await hasIpv6())) {
    await setSysctl(`ipv6/conf/${spec.name}/disable_ipv6`, "0");
    await runSteps(host.route, [
      { action: `configure bridge ${spec.name}`, message: setLink(created.index, {}, noGeneratedAddress()) },
    ]);
    await setSysctl(`ipv6/conf/${spec.name}/accept_ra`, "0");
  }
  return created;
}

/** Steps that give the bridge its addresses; throws when it has another one in the same network. */
async function addressSteps(host: Host, bridge: Link, spec: BridgeSpec): Promise<readonly Step[]> {
  if (spec.gateways.length === 0) return [];
  const [dump] = await host.route.request([dumpAddresses(bridge.index)]);
  const present = (dump?.parts ?? [])
    .map(decodeAddress)
    .filter((entry) => entry.index === bridge.index)
    .map((entry) => entry.prefix);
  const steps: Step[] = [];
  for (const wanted of spec.gateways) {
    const label = formatPrefix(wanted);
    if (present.some((prefix) => formatPrefix(prefix) === label)) continue;
    for (const other of present.filter((prefix) => contains(prefix, wanted.address))) {
      if (!spec.forceAddress) {
        throw new CniError(
          codes.invalidConfig,
          `bridge ${spec.name} has ${formatPrefix(other)} already, so ${label} needs forceAddress`,
        );
      }
      const action = `remove ${formatPrefix(other)} from ${spec.name}`;
      steps.push({ action, message: deleteAddress(bridge.index, other), ignore: errnos.EADDRNOTAVAIL });
    }
    const message = newAddress(bridge.index, wanted, flags.excl);
    steps.push({ action: `add ${label} to ${spec.name}`, message, ignore: errnos.EEXIST });
  }
  return steps;
}

/**
 * A host that forwards ignores router advertisements unless told otherwise, and would lose its own way out if it has it
 * from them.
 */
async function forwardIpv6(): Promise<void> {
  const all = "/proc/sys/net/ipv6/conf";
  if ((await readFile(`${all}/all/forwarding`, "utf8")).trim() === "1") return;
  for (const name of await readdir(all)) {
    if (name === "all" || name === "default") continue;
    const file = `${all}/${name}/accept_ra`;
    const value = await readFile(file, "utf8").catch(() => "");
    if (value.trim() === "1") await writeFile(file, "2");
  }
  await setSysctl("ipv6/conf/all/forwarding", "1");
}

/** Makes the bridge what the configuration says, whatever is there; several may do so at once. */
export async function ensureBridge(host: Host, spec: BridgeSpec): Promise<Link> {
  const bridge = await findOrCreate(host, spec);
  if (bridge.kind !== "bridge") {
    throw new CniError(
      codes.invalidConfig,
      `${spec.name} exists and is a ${bridge.kind || "device"}, not a bridge`,
    );
  }
  const steps = [...(await addressSteps(host, bridge, spec))];
  const promisc = spec.promisc && !bridge.promisc ? IFF_PROMISC : 0;
  if (!bridge.up || promisc !== 0) {
    steps.push({ action: `set ${spec.name} up`, message: setLink(bridge.index, { set: IFF_UP | promisc }) });
  }
  if (steps.length > 0) await runSteps(host.route, steps);
  if (spec.gateways.some((gateway) => gateway.address.family === 4)) await setSysctl("ipv4/ip_forward", "1");
  if (spec.gateways.some((gateway) => gateway.address.family === 6)) await forwardIpv6();
  return bridge;
}
