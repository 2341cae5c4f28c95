import { errnos } from "../kernel/libc.ts";
import { refusal } from "../link/channel.ts";
import type { Host } from "../link/host.ts";
import type { Message } from "../link/wire.ts";
import { attributeList, attributeText, decodeAttributes } from "../link/wire.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { BaseChain, Element, SetSpec } from "./messages.ts";
import {
  absent,
  attributesAt,
  batchBegin,
  batchEnd,
  deleteChain,
  deleteElement,
  deviceKey,
  deviceSet,
  flushChain,
  getChain,
  getElement,
  isPart,
  listChains,
  listElements,
  newChain,
  newDevice,
  newDeviceSet,
  newElement,
  newRule,
  newSet,
  newTable,
  parseComment,
} from "./messages.ts";
import { maps, podSets } from "./ruleset.ts";

/** An element as the kernel has it. */
export interface KernelElement {
  readonly map: string;
  readonly key: Buffer;
  readonly value: Buffer;
  /** Who put it there, out of the comment. */
  readonly owner: string;
}

/** The table in the kernel. Whoever changes chains holds the table's file lock. */
export class Table {
  readonly #host: Host;
  /** Elements that are in the kernel as far as this process knows: for when another program flushes all rules. */
  readonly #claimed = new Map<string, Element>();
  #listed = false;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Comments of these chains; undefined for a chain that is not there. */
  async comments(names: readonly string[]): Promise<readonly (string | undefined)[]> {
    const replies = await this.#host.filter.request(names.map(getChain));
    return replies.map((reply) => {
      const part = reply.parts.find((header) => isPart(header.type, "newChain"));
      return part === undefined ? undefined : parseComment(decodeAttributes(part.body, attributesAt).get(12));
    });
  }

  /**
   * Makes the chains as described, removes those of `unwanted` that are not among them, and counts the device among
   * those that pods are behind. What is so already stays untouched; the rest changes in one transaction.
   */
  async ensure(
    chains: readonly BaseChain[],
    unwanted: readonly string[],
    device: string | undefined,
  ): Promise<void> {
    const surplus = unwanted.filter((name) => !chains.some((chain) => chain.name === name));
    const [present, known] = await Promise.all([
      this.comments([...chains.map((chain) => chain.name), ...surplus]),
      device === undefined ? [] : this.find([{ map: deviceSet, key: deviceKey(device) }]),
    ]);
    const changes: Message[] = [];
    for (const [index, chain] of chains.entries()) {
      if (present[index] === chain.comment) continue;
      if (present[index] !== undefined) changes.push(flushChain(chain.name), deleteChain(chain.name));
      changes.push(newChain(chain), ...chain.rules().map((rule) => newRule(chain.name, rule)));
    }
    for (const [index, name] of surplus.entries()) {
      if (present[chains.length + index] !== undefined) changes.push(flushChain(name), deleteChain(name));
    }
    if (changes.length === 0 && (device === undefined || known[0] !== undefined)) return;
    const sets = podSets.map((spec, index) => newSet(spec, index + 1));
    const devices = [newDeviceSet(sets.length + 1), ...(device === undefined ? [] : [newDevice(device)])];
    await this.#commit("install rules", [newTable(), ...sets, ...devices, ...changes]);
    await this.#restore();
  }

  /** Remembers what was there before this process, so that it can be put back too. For processes that stay. */
  async remember(): Promise<void> {
    if (this.#listed) return;
    this.#listed = true;
    for (const element of await this.list(podSets)) this.#claimed.set(identity(element), element);
  }

  /** Has no claim of this process any more on what `gone` says. */
  disclaim(gone: (owner: string) => boolean): void {
    for (const [key, { owner }] of this.#claimed) if (gone(owner)) this.#claimed.delete(key);
  }

  /** Puts elements back that were lost with the table, but for pods that are gone by now. */
  async #restore(): Promise<void> {
    if (this.#claimed.size === 0) return;
    const links = new Set((await this.#host.listLinks()).map((link) => link.name));
    this.disclaim((owner) => !owner.startsWith("- ") && !links.has(owner.split(" ")[0] ?? ""));
    const all = [...this.#claimed.values()];
    const present = await this.find(all);
    const lost = all.filter((_, index) => present[index] === undefined);
    if (lost.length > 0) await this.#commit("put pods' elements back", lost.map(newElement));
  }

  /** Forgets devices that are no more. */
  async sweepDevices(links: ReadonlySet<string>): Promise<void> {
    const dump = await this.#host.filter.dump("list devices", listElements(deviceSet), absent);
    const gone = (dump ?? [])
      .filter((part) => isPart(part.type, "newElement"))
      .flatMap((part) => elementsOf(deviceSet, part.body))
      .filter(({ key }) => !links.has(attributeText(key) ?? ""));
    await this.remove(gone);
  }

  /** Removes chains; those that are gone are none. */
  async removeChains(names: readonly string[]): Promise<void> {
    const present = await this.comments(names);
    const found = names.filter((_, index) => present[index] !== undefined);
    if (found.length === 0) return;
    await this.#commit(
      "remove rules",
      found.flatMap((name) => [flushChain(name), deleteChain(name)]),
    );
  }

  async chainNames(): Promise<readonly string[]> {
    const dump = await this.#host.filter.dump("list chains", listChains(), absent);
    return (dump ?? [])
      .filter((part) => isPart(part.type, "newChain"))
      .map((part) => attributeText(decodeAttributes(part.body, attributesAt).get(3)) ?? "");
  }

  /** Adds all or none. Resolves with the element that exists already, or with undefined. */
  async add(elements: readonly Element[]): Promise<Element | undefined> {
    if (elements.length === 0) return undefined;
    const reply = await this.#transaction(elements.map(newElement));
    if (reply.errno === 0) {
      for (const element of elements) this.#claimed.set(identity(element), element);
      return undefined;
    }
    const at = elements[reply.at];
    if (reply.errno === errnos.EEXIST && at !== undefined) return at;
    throw refusal("add a pod's elements", reply);
  }

  /** Replaces what these keys have, whoever's it is. */
  async replace(elements: readonly Element[], old: readonly KernelElement[]): Promise<void> {
    await this.#commit("replace a pod's elements", [
      ...old.map((element) => deleteElement(element.map, element.key)),
      ...elements.map(newElement),
    ]);
    for (const element of elements) this.#claimed.set(identity(element), element);
  }

  async find(keys: readonly Pick<Element, "map" | "key">[]): Promise<readonly (KernelElement | undefined)[]> {
    if (keys.length === 0) return [];
    const replies = await this.#host.filter.request(keys.map(({ map, key }) => getElement(map, key)));
    return replies.map((reply, index) => {
      const part = reply.parts.find((header) => isPart(header.type, "newElement"));
      return part === undefined ? undefined : elementsOf(keys[index]?.map ?? "", part.body)[0];
    });
  }

  /** What pods have in these sets: every host port of this host, or what `specs` says. */
  async list(specs: readonly SetSpec[] = Object.values(maps)): Promise<readonly KernelElement[]> {
    const names = specs.map(({ name }) => name);
    const found: KernelElement[] = [];
    for (const name of names) {
      const dump = await this.#host.filter.dump(`list ${name}`, listElements(name), absent);
      for (const part of dump ?? []) {
        if (isPart(part.type, "newElement")) found.push(...elementsOf(name, part.body));
      }
    }
    return found;
  }

  /** Removes elements; one that is gone meanwhile is no error. */
  async remove(elements: readonly Pick<KernelElement, "map" | "key">[]): Promise<void> {
    if (elements.length === 0) return;
    for (const element of elements) this.#claimed.delete(identity(element));
    const reply = await this.#transaction(elements.map(({ map, key }) => deleteElement(map, key)));
    if (reply.errno === 0) return;
    if (reply.errno !== errnos.ENOENT) throw refusal("remove a pod's elements", reply);
    for (const element of elements.length > 1 ? elements : []) await this.remove([element]);
  }

  #transaction(messages: readonly Message[]): ReturnType<Host["filter"]["transaction"]> {
    return this.#host.filter.transaction(batchBegin, messages, batchEnd);
  }

  async #commit(action: string, messages: readonly Message[]): Promise<void> {
    const reply = await this.#transaction(messages);
    if (reply.errno === 0) return;
    if (reply.errno === errnos.EOPNOTSUPP && reply.at === 0) {
      const message =
        "this kernel has no nf_tables of the inet family, which ipMasq, ingressPolicy and portMappings need";
      throw new CniError(codes.unsupportedField, message);
    }
    const error = refusal(`${action} in table berth`, reply);
    throw new CniError(
      codes.kernelRefused,
      `${error.message}, at message ${reply.at + 1} of ${messages.length}`,
    );
  }
}

function identity({ map, key }: Pick<Element, "map" | "key">): string {
  return `${map} ${key.toString("hex")}`;
}

function elementsOf(map: string, body: Buffer): readonly KernelElement[] {
  const list = decodeAttributes(body, attributesAt).get(3);
  if (list === undefined) return [];
  return attributeList(list).flatMap(([, bytes]) => {
    const attributes = decodeAttributes(bytes);
    const inner = (type: number): Buffer | undefined => {
      const nest = attributes.get(type);
      return nest === undefined ? undefined : decodeAttributes(nest).get(1);
    };
    const key = inner(1);
    if (key === undefined) return [];
    return [{ map, key, value: inner(2) ?? Buffer.alloc(0), owner: parseComment(attributes.get(6)) }];
  });
}
