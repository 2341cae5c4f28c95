import type { Address, Prefix } from "../spec/address.ts";
import { contains, formatAddress, formatPrefix, parseAddress } from "../spec/address.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { BuiltInIpam, Range, RangeSet } from "../spec/ipam-config.ts";
import { isReserved, RangeUsage } from "./free-list.ts";
import type { LeaseOwner, LeaseProof, LeaseStore } from "./lease-store.ts";

export interface Allocation {
  readonly address: Address;
  readonly range: Range;
}

/** An address that was just given back rests before the next pod gets it: its peers may still talk to it. */
const quarantineMs = 60_000;
/** After the last of a burst of pods. */
const quietMs = 5;
/** Without an index, so many guesses are cheaper than reading a directory of thousands. */
const blindGuesses = 16;

interface SetState {
  readonly usages: readonly RangeUsage[];
  cursor: Address | undefined;
}

/**
 * The addresses of one network. The files decide; what is in memory only saves asking them. So an index that is out of
 * date costs a try that fails, and "no address left" is said only after reading the directory.
 */
export class Pool {
  readonly store: LeaseStore;
  readonly #sets = new Map<string, SetState>();
  readonly #byOwner = new Map<string, Set<string>>();
  readonly #known = new Set<string>();
  readonly #released = new Map<string, number>();
  readonly #pendingCursors = new Map<number, Address>();
  #indexed = false;
  #cursorTimer: NodeJS.Timeout | undefined;
  #prepareTimer: NodeJS.Timeout | undefined;
  #preparing: Promise<void> | undefined;

  constructor(store: LeaseStore) {
    this.store = store;
  }

  /** Reads the directory into memory; for processes that stay. */
  async index(): Promise<void> {
    for (const lease of await this.store.list()) this.#remember(lease.address, lease.owner);
    this.#indexed = true;
  }

  /** Addresses of an owner that this process knows of; another process may have given it more. */
  knownOf(owner: LeaseOwner): readonly string[] {
    return [...(this.#byOwner.get(ownerKey(owner)) ?? [])];
  }

  /** All leases of an owner, by the directory. With an index only the files are read that it does not have. */
  async searchOf(owner: LeaseOwner): Promise<readonly Address[]> {
    const present = await this.store.addresses();
    const unknown = this.#indexed
      ? present.filter((address) => !this.#known.has(formatAddress(address)))
      : present;
    for (const lease of await this.store.readAll(unknown)) this.#remember(lease.address, lease.owner);
    // Older releases of the reference plugin did not write the interface.
    const owners = [owner, { ...owner, ifName: "" }];
    return owners.flatMap((one) => this.knownOf(one).map((text) => parseAddress(text, "lease")));
  }

  async allocate(ipam: BuiltInIpam, owner: LeaseOwner, proof: LeaseProof): Promise<readonly Allocation[]> {
    const done: Allocation[] = [];
    const wanted = [...ipam.wanted];
    try {
      for (const [index, set] of ipam.sets.entries()) {
        const at = wanted.findIndex((prefix) => set.some((range) => contains(range.subnet, prefix.address)));
        const fixed = at < 0 ? undefined : wanted.splice(at, 1)[0];
        done.push(
          fixed === undefined
            ? await this.#next(index, set, owner, proof)
            : await this.#fixed(set, fixed, owner, proof),
        );
      }
      const unused = wanted[0];
      if (unused !== undefined) {
        throw new CniError(
          codes.invalidConfig,
          `wanted address ${formatAddress(unused.address)} is in no range set`,
        );
      }
      this.#prepare();
      return done;
    } catch (error) {
      for (const { address } of done) await this.release(address, owner);
      throw error;
    }
  }

  async release(address: Address, owner: LeaseOwner): Promise<boolean> {
    const removed = await this.store.release(address, owner);
    this.#forget(address, owner);
    return removed;
  }

  /** Removes a lease that was proven dead. */
  async reap(address: Address, owner: LeaseOwner | undefined): Promise<void> {
    await this.store.remove(address);
    this.#forget(address, owner);
  }

  /** Used and usable addresses of each range set, for messages and STATUS. */
  async counts(ipam: BuiltInIpam): Promise<readonly { readonly used: number; readonly size: bigint }[]> {
    await this.#refresh(ipam);
    return ipam.sets.map((set) => {
      const usages = this.#state(set).usages;
      return {
        used: usages.reduce((sum, usage) => sum + usage.used, 0),
        size: usages.reduce((sum, usage) => sum + usage.size - BigInt(reservedIn(usage.range)), 0n),
      };
    });
  }

  /** Writes what is only in memory, and closes what is open. */
  async close(): Promise<void> {
    clearTimeout(this.#prepareTimer);
    await this.#flush();
    await this.#preparing;
    this.store.close();
  }

  /** For the pod after this one, when this one's call is through. */
  #prepare(): void {
    if (!this.#indexed) return;
    clearTimeout(this.#prepareTimer);
    this.#prepareTimer = setTimeout(() => {
      // The next allocation tries it again, and tells its caller.
      this.#preparing = this.store.prepare().catch(() => undefined);
    }, quietMs).unref();
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#cursorTimer);
    this.#cursorTimer = undefined;
    const pending = [...this.#pendingCursors];
    this.#pendingCursors.clear();
    for (const [set, address] of pending) await this.store.writeCursor(set, address);
  }

  #state(set: RangeSet): SetState {
    const key = set.map((range) => `${formatAddress(range.start)}-${formatAddress(range.end)}`).join(",");
    let state = this.#sets.get(key);
    if (state === undefined) {
      state = { usages: set.map((range) => new RangeUsage(range)), cursor: undefined };
      this.#sets.set(key, state);
      for (const texts of this.#byOwner.values()) for (const text of texts) this.#mark(state, text);
    }
    return state;
  }

  #mark(state: SetState, text: string): void {
    for (const usage of state.usages) {
      const { family } = usage.range.subnet.address;
      if (text.includes(":") === (family === 6)) usage.take(addressOf(text).value);
    }
  }

  async #refresh(ipam: BuiltInIpam): Promise<void> {
    const present = new Set((await this.store.addresses()).map(formatAddress));
    for (const set of ipam.sets) {
      const state = this.#state(set);
      for (const [index, usage] of state.usages.entries()) {
        const fresh = new RangeUsage(usage.range);
        for (const text of present) {
          if (text.includes(":") === (usage.range.subnet.address.family === 6))
            fresh.take(addressOf(text).value);
        }
        (state.usages as RangeUsage[])[index] = fresh;
      }
    }
  }

  async #next(index: number, set: RangeSet, owner: LeaseOwner, proof: LeaseProof): Promise<Allocation> {
    const state = this.#state(set);
    state.cursor ??= await this.store.readCursor(index);
    const limit = this.#indexed ? Number.POSITIVE_INFINITY : blindGuesses;
    const found =
      (await this.#search(state, owner, proof, true, limit)) ?? (await this.#thorough(set, owner, proof));
    if (found === undefined) throw await this.#exhausted(set);
    state.cursor = found.address;
    this.#pendingCursors.set(index, found.address);
    if (this.#indexed) {
      this.#cursorTimer ??= setTimeout(() => {
        this.#cursorTimer = undefined;
        this.#flush().catch(() => undefined);
      }, 500).unref();
    }
    return found;
  }

  /** Again with the directory's word, and then also those that still rest. */
  async #thorough(set: RangeSet, owner: LeaseOwner, proof: LeaseProof): Promise<Allocation | undefined> {
    await this.#refresh({ sets: [set] } as unknown as BuiltInIpam);
    const state = this.#state(set);
    const all = Number.POSITIVE_INFINITY;
    return (
      (await this.#search(state, owner, proof, true, all)) ??
      (await this.#search(state, owner, proof, false, all))
    );
  }

  /** Walks the set's ranges round robin from the cursor on, and once more from their start. */
  async #search(
    state: SetState,
    owner: LeaseOwner,
    proof: LeaseProof,
    restful: boolean,
    limit: number,
  ): Promise<Allocation | undefined> {
    const { cursor } = state;
    const count = state.usages.length;
    const at = cursor === undefined ? 0 : state.usages.findIndex((usage) => isIn(usage, cursor));
    const first = Math.max(0, at);
    let tries = 0;
    for (let step = 0; step <= count; step++) {
      const usage = state.usages[(first + step) % count];
      if (usage === undefined) break;
      const from =
        step === 0 && at >= 0 && cursor !== undefined ? cursor.value + 1n : usage.range.start.value;
      for (let value = usage.freeFrom(from); value !== undefined; value = usage.freeFrom(value + 1n)) {
        const address = { family: usage.range.subnet.address.family, value };
        if (isReserved(usage.range, value) || (restful && this.#rests(address))) continue;
        if (await this.#take(address, owner, proof)) return { address, range: usage.range };
        usage.take(value);
        if (++tries >= limit) return undefined;
      }
    }
    return undefined;
  }

  #rests(address: Address): boolean {
    const since = this.#released.get(formatAddress(address));
    return since !== undefined && performance.now() - since < quarantineMs;
  }

  async #fixed(set: RangeSet, wanted: Prefix, owner: LeaseOwner, proof: LeaseProof): Promise<Allocation> {
    const { address } = wanted;
    const text = formatAddress(address);
    const range = set.find((candidate) => contains(candidate.subnet, address));
    const ranged = set.find(
      (candidate) => candidate.start.value <= address.value && address.value <= candidate.end.value,
    );
    if (range === undefined || ranged === undefined) {
      throw new CniError(codes.invalidConfig, `wanted address ${text} is outside of its range`);
    }
    if (isReserved(ranged, address.value)) {
      throw new CniError(codes.addressTaken, `wanted address ${text} is a gateway or excluded`);
    }
    if (await this.#take(address, owner, proof)) return { address, range: ranged };
    const lease = await this.store.read(address);
    throw new CniError(
      codes.addressTaken,
      `wanted address ${text} belongs to container ${lease?.owner?.containerId ?? "(unreadable lease)"}`,
    );
  }

  async #take(address: Address, owner: LeaseOwner, proof: LeaseProof): Promise<boolean> {
    // Marked before the file exists, so that two allocations of this process never try the same one.
    this.#remember(address, owner);
    const taken = await this.store.create(address, owner, proof);
    if (!taken) this.#disown(formatAddress(address), ownerKey(owner));
    return taken;
  }

  #remember(address: Address, owner: LeaseOwner | undefined): void {
    const key = owner === undefined ? "" : ownerKey(owner);
    const texts = this.#byOwner.get(key) ?? new Set();
    texts.add(formatAddress(address));
    this.#byOwner.set(key, texts);
    this.#known.add(formatAddress(address));
    for (const state of this.#sets.values()) {
      for (const usage of state.usages) if (isIn(usage, address)) usage.take(address.value);
    }
  }

  #forget(address: Address, owner: LeaseOwner | undefined): void {
    const text = formatAddress(address);
    this.#disown(text, owner === undefined ? "" : ownerKey(owner));
    for (const state of this.#sets.values()) {
      for (const usage of state.usages) if (isIn(usage, address)) usage.release(address.value);
    }
    const now = performance.now();
    this.#released.delete(text);
    this.#released.set(text, now);
    // Insertion order is order of time: the oldest are first.
    for (const [old, since] of this.#released) {
      if (now - since < quarantineMs) break;
      this.#released.delete(old);
    }
  }

  #disown(text: string, key: string): void {
    const texts = this.#byOwner.get(key);
    texts?.delete(text);
    if (texts?.size === 0) this.#byOwner.delete(key);
    this.#known.delete(text);
  }

  async #exhausted(set: RangeSet): Promise<CniError> {
    const ranges = set
      .map(
        (range) =>
          `${formatAddress(range.start)}-${formatAddress(range.end)} of ${formatPrefix(range.subnet)}`,
      )
      .join(", ");
    const usages = this.#state(set).usages;
    const used = usages.reduce((sum, usage) => sum + usage.used, 0);
    const reserved = set.reduce((sum, range) => sum + reservedIn(range), 0);
    const size = usages.reduce((sum, usage) => sum + usage.size, 0n) - BigInt(reserved);
    return new CniError(
      codes.addressesExhausted,
      `no address left in ${ranges}: ${used} of ${size} in use (${this.store.directory})`,
    );
  }
}

function ownerKey(owner: LeaseOwner): string {
  return `${owner.containerId}\n${owner.ifName}`;
}

function isIn(usage: RangeUsage, address: Address): boolean {
  const { start, end } = usage.range;
  return start.family === address.family && start.value <= address.value && address.value <= end.value;
}

function addressOf(text: string): Address {
  if (!text.includes(":")) {
    return { family: 4, value: text.split(".").reduce((value, part) => (value << 8n) | BigInt(part), 0n) };
  }
  return parseAddress(text, "lease");
}

/** How many addresses between start and end the configuration keeps from pods (small lists; counted once a message). */
function reservedIn(range: Range): number {
  const size = range.end.value - range.start.value + 1n;
  let count = range.gateway.value >= range.start.value && range.gateway.value <= range.end.value ? 1 : 0;
  for (const prefix of range.exclude) {
    const width = 1n << BigInt((prefix.address.family === 4 ? 32 : 128) - prefix.length);
    count += Number(width < size ? width : size);
  }
  return count;
}
