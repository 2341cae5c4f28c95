import { ownerMark, sameOwner } from "../nft/host-ports.ts";
import type { Element } from "../nft/messages.ts";
import { namespaceMaps, namespaceMembers, namespaceNumbers } from "../nft/ruleset.ts";
import type { KernelElement } from "../nft/table.ts";
import type { Address } from "../spec/address.ts";
import { addressBytes, parsePrefix } from "../spec/address.ts";
import { hashText } from "../spec/hash.ts";
import type { Context, Request } from "./context.ts";
import { ownerOf } from "./ports.ts";
import type { Undo } from "./undo.ts";

// Which pods are of one Kubernetes namespace, for ingressPolicy same-namespace: two elements per address of a pod. One
// that the runtime gave no namespace has none, and is reached by no pod.

/** Priorities below are what a packet's type of service stands for. */
const firstNumber = 0x10000;

function applies(request: Request): boolean {
  return request.config.ingressPolicy === "same-namespace";
}

function memberOf(address: Element): Element {
  const members = address.map === namespaceMaps[4].name ? namespaceMembers[4] : namespaceMembers[6];
  const key = Buffer.concat([address.value, address.key]);
  return { map: members.name, key, value: Buffer.alloc(0), owner: address.owner };
}

/** An address's two elements always come and go in one transaction. */
function both(elements: readonly Element[]): readonly Element[] {
  return elements.flatMap((element) => [element, memberOf(element)]);
}

/** What the kernel has of these addresses, whoever's they were. */
async function present(context: Context, addresses: readonly Address[]): Promise<readonly KernelElement[]> {
  const keys = addresses.map((address) => ({
    map: namespaceMaps[address.family].name,
    key: addressBytes(address),
  }));
  return (await context.table.find(keys)).filter((element) => element !== undefined);
}

/**
 * The element with the namespace's number. Names are kept beside the numbers, so that no name, however it was chosen, is
 * taken for another.
 */
async function numberOf(
  context: Context,
  namespace: string,
): Promise<{ readonly element: Element; readonly isNew: boolean }> {
  const owner = `- namespace ${namespace}`;
  const start = Number.parseInt(hashText("namespace", namespace).slice(0, 8), 16);
  for (let step = 0; ; step++) {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(firstNumber + ((start + step) % (2 ** 32 - firstNumber)));
    const element = { map: namespaceNumbers.name, key, value: Buffer.alloc(0), owner };
    const [found] = await context.table.find([element]);
    if (found === undefined || found.owner === owner) return { element, isNew: found === undefined };
  }
}

/** Says which namespace the addresses are of, instead of what was said of them before. */
export async function joinNamespace(
  context: Context,
  request: Request,
  hostLink: string,
  addresses: readonly Address[],
  undo: Undo,
): Promise<void> {
  const namespace = request.call.args.get("K8S_POD_NAMESPACE") ?? "";
  if (!applies(request) || namespace === "") return;
  const owner = ownerMark(ownerOf(request, hostLink));
  const lock = await context.lockTable();
  try {
    const number = await numberOf(context, namespace);
    const elements = addresses.map((address) => ({
      map: namespaceMaps[address.family].name,
      key: addressBytes(address),
      value: number.element.key,
      owner,
    }));
    const old = await present(context, addresses);
    await context.table.replace([...(number.isNew ? [number.element] : []), ...both(elements)], both(old));
  } finally {
    await lock.release();
  }
  undo.push("leave the namespace", () => leaveNamespace(context, request, hostLink));
}

/** Forgets the addresses of this attachment, even when the configuration has another policy by now. */
export async function leaveNamespace(context: Context, request: Request, hostLink: string): Promise<void> {
  const mark = ownerMark(ownerOf(request, hostLink));
  const told = (request.config.prevResult?.ips ?? []).map(
    (ip) => parsePrefix(ip.address, "prevResult.ips").address,
  );
  const find = async (): Promise<readonly KernelElement[]> => {
    const known = (await present(context, told)).filter((element) => sameOwner(element.owner, mark));
    if (known.length > 0 || !applies(request)) return known;
    const all = await context.table.list(Object.values(namespaceMaps));
    return all.filter((element) => sameOwner(element.owner, mark));
  };
  // Most pods have none, and need not wait for others.
  if ((await find()).length === 0) return;
  const lock = await context.lockTable();
  try {
    await context.table.remove(both(await find()));
  } finally {
    await lock.release();
  }
}

/** Gives back the numbers of namespaces without a pod. The table's lock is the caller's. */
export async function sweepNamespaces(context: Context): Promise<void> {
  const numbers = await context.table.list([namespaceNumbers]);
  if (numbers.length === 0) return;
  const pods = await context.table.list(Object.values(namespaceMaps));
  const used = new Set(pods.map((pod) => pod.value.toString("hex")));
  await context.table.remove(numbers.filter((number) => !used.has(number.key.toString("hex"))));
}
