import type { Address } from "../spec/address.ts";
import { addressBytes, addressOfBytes, formatAddress } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { PortMapping, Protocol } from "../spec/runtime-config.ts";
import type { FlowFilter } from "./conntrack.ts";
import type { Element } from "./messages.ts";
import { maps } from "./ruleset.ts";
import type { KernelElement, Table } from "./table.ts";

const numbers: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17, sctp: 132 };

function word(value: Buffer): Buffer {
  return Buffer.concat([value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}

function port(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16BE(value);
  return bytes;
}

function keyOf(mapping: PortMapping): Buffer {
  const protocol = word(Buffer.from([numbers[mapping.protocol]]));
  const address = mapping.hostIp === undefined ? [] : [addressBytes(mapping.hostIp)];
  return Buffer.concat([...address, protocol, port(mapping.hostPort)]);
}

/** The elements that a pod's mappings are: one for each port and family in which the pod has an address. */
export function hostPortElements(
  mappings: readonly PortMapping[],
  addresses: readonly Address[],
  owner: string,
): readonly Element[] {
  return mappings.flatMap((mapping) =>
    ([4, 6] as const).flatMap((family) => {
      const pod = addresses.find((address) => address.family === family);
      if (pod === undefined || (mapping.hostIp !== undefined && mapping.hostIp.family !== family)) return [];
      const map =
        mapping.hostIp === undefined
          ? family === 4
            ? maps.any4.name
            : maps.any6.name
          : family === 4
            ? maps.at4.name
            : maps.at6.name;
      const value = Buffer.concat([addressBytes(pod), port(mapping.containerPort)]);
      return [{ map, key: keyOf(mapping), value, owner }];
    }),
  );
}

/** The same keys in every map where they can be: for DEL, which may not know the pod's addresses. */
export function hostPortKeys(mappings: readonly PortMapping[]): readonly Pick<Element, "map" | "key">[] {
  return mappings.flatMap((mapping): readonly Pick<Element, "map" | "key">[] => {
    const key = keyOf(mapping);
    if (mapping.hostIp !== undefined) {
      return [{ map: mapping.hostIp.family === 4 ? maps.at4.name : maps.at6.name, key }];
    }
    return [
      { map: maps.any4.name, key },
      { map: maps.any6.name, key },
    ];
  });
}

/** `tcp 8080`, with the address of the host between them when it is for one alone. */
export function describePort(element: Pick<Element, "key">): string {
  const { key } = element;
  const protocol = key[key.length - 8];
  const name = Object.entries(numbers).find(([, number]) => number === protocol)?.[0] ?? String(protocol);
  const address =
    key.length > 8
      ? `${formatAddress({ family: key.length === 12 ? 4 : 6, value: BigInt(`0x${key.toString("hex", 0, key.length - 8)}`) })} `
      : "";
  return `${name} ${address}${key.readUInt16BE(key.length - 4)}`;
}

/** Protocols that have no connections, as far as a port is concerned. */
const connectionless = [numbers.udp, numbers.sctp];

/** The flows that these elements decided about. `answered`: only those that the pods of the elements answered. */
export function flowsOf(
  elements: readonly Pick<Element, "key" | "value">[],
  answered: boolean,
): readonly FlowFilter[] {
  return elements.flatMap(({ key, value }) => {
    const protocol = key[key.length - 8] ?? 0;
    if (!connectionless.includes(protocol)) return [];
    const pod = addressOfBytes(value.subarray(0, value.length - 4));
    const port = key.readUInt16BE(key.length - 4);
    return [{ family: pod.family, protocol, port, pod: answered ? pod : undefined }];
  });
}

/** An attachment as far as host ports are concerned. */
export interface PortOwner {
  /** A device on the host that lives as long as the pod's interface; "-" when none is known. */
  readonly hostLink: string;
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
}

/** An element's comment; the kernel keeps 256 bytes of it. */
export function ownerMark(owner: PortOwner): string {
  const { hostLink, network, containerId, ifName } = owner;
  return [hostLink, network.slice(0, 60), containerId.slice(0, 100), ifName].join(" ");
}

/** The device that proves that the owner lives. */
export function linkOfOwner(mark: string): string {
  return mark.split(" ")[0] ?? "";
}

/** Whether both marks are of one attachment, be its device another one by now. */
export function sameOwner(one: string, other: string): boolean {
  return one.slice(one.indexOf(" ")) === other.slice(other.indexOf(" "));
}

/** Takes the ports for the pod. A port of a pod whose link is gone is taken over; one of a living pod is an error. */
export async function claimHostPorts(
  table: Table,
  elements: readonly Element[],
  isAlive: (hostLink: string) => Promise<boolean>,
): Promise<void> {
  const conflict = await table.add(elements);
  if (conflict === undefined) return;
  const present = (await table.find(elements)).filter((element) => element !== undefined);
  for (const other of present) {
    const mine = elements.find((element) => element.map === other.map && element.key.equals(other.key));
    if (mine === undefined || sameOwner(mine.owner, other.owner)) continue;
    if (await isAlive(linkOfOwner(other.owner))) {
      const [, network, container] = other.owner.split(" ");
      throw new CniError(
        codes.hostPortTaken,
        `host port ${describePort(other)} belongs to container ${container ?? "?"} of network ${network ?? "?"}`,
      );
    }
  }
  await table.replace(elements, present);
}

/** Gives a pod's ports back. Without `mappings` every map is looked through. */
export async function releaseHostPorts(
  table: Table,
  owner: PortOwner,
  mappings: readonly PortMapping[] | undefined,
): Promise<readonly KernelElement[]> {
  const found =
    mappings === undefined
      ? await table.list()
      : (await table.find(hostPortKeys(mappings))).filter((element) => element !== undefined);
  const mark = ownerMark(owner);
  const mine = found.filter((element) => sameOwner(element.owner, mark));
  await table.remove(mine);
  table.disclaim((other) => sameOwner(other, mark));
  return mine;
}
