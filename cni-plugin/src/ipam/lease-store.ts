import { closeSync, constants, open, writeSync } from "node:fs";
import { mkdir, readdir, readFile, rename, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { linkOpenFile, readAttribute, SyscallError, trySetAttribute } from "../kernel/libc.ts";
import { isMissing } from "../kernel/missing.ts";
import type { Address } from "../spec/address.ts";
import { formatAddress, tryParseAddress } from "../spec/address.ts";
import { isContainerId } from "../spec/env.ts";

/** Who has an address: the reference plugin's file content is these two, with CR LF between them. */
export interface LeaseOwner {
  readonly containerId: string;
  readonly ifName: string;
}

/** What proves whether a lease still means something. Kept beside the content, which other programs compare. */
export interface LeaseProof {
  /** /proc/sys/kernel/random/boot_id at the time: no interface outlives a boot. */
  readonly boot: string;
  /** The host's end of the link, "" when the interface is another plugin's. */
  readonly hostLink: string;
  readonly bridge: string;
  readonly netns: string;
  readonly netnsInode: string;
  readonly hostPorts: boolean;
}

export interface Lease {
  readonly address: Address;
  /** undefined: an empty or torn file. */
  readonly owner: LeaseOwner | undefined;
  /** undefined: another program's, or a filesystem without attributes. */
  readonly proof: LeaseProof | undefined;
  readonly modifiedMs: number;
}

const openFile = promisify(open);

const attributeName = "user.berth.lease";

function contentOf(owner: LeaseOwner): string {
  return `${owner.containerId}\r\n${owner.ifName}`;
}

/** Releases of the reference plugin before 0.8 wrote the id alone. */
function parseContent(text: string): LeaseOwner | undefined {
  const [containerId, ifName] = text.trim().split("\r\n");
  if (containerId === undefined || !isContainerId(containerId)) return undefined;
  return { containerId, ifName: ifName ?? "" };
}

function parseProof(text: string | undefined): LeaseProof | undefined {
  if (text === undefined) return undefined;
  const [boot, hostLink, bridge, netnsInode, ports, netns] = text.split("\n");
  if (boot === undefined || hostLink === undefined || bridge === undefined || netnsInode === undefined) {
    return undefined;
  }
  return { boot, hostLink, bridge, netnsInode, hostPorts: ports === "ports", netns: netns ?? "" };
}

function formatProof(proof: LeaseProof): string {
  const { boot, hostLink, bridge, netnsInode, hostPorts, netns } = proof;
  return [boot, hostLink, bridge, netnsInode, hostPorts ? "ports" : "", netns].join("\n");
}

/**
 * The leases of one network: a file for each address, named by it, in the reference plugin's layout. A file appears
 * with its content or not at all, and only one process can make it. Nothing is flushed to the disk: a lease ends with
 * the boot anyway, so what a power cut leaves is only removed.
 */
export class LeaseStore {
  readonly directory: string;
  #spare: number | undefined;

  constructor(dataDir: string, network: string) {
    this.directory = join(dataDir, network);
  }

  get lockPath(): string {
    return join(this.directory, "lock");
  }

  #path(address: Address): string {
    return join(this.directory, formatAddress(address));
  }

  async #openUnnamed(): Promise<number> {
    // O_TMPFILE is a flag of its own plus O_DIRECTORY (asm-generic/fcntl.h).
    const mode = constants.O_WRONLY | 0o20000000 | constants.O_DIRECTORY;
    try {
      return await openFile(this.directory, mode, 0o644);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await mkdir(this.directory, { recursive: true, mode: 0o755 });
      return openFile(this.directory, mode, 0o644);
    }
  }

  /** False when the address is taken, by whomever. */
  async create(address: Address, owner: LeaseOwner, proof: LeaseProof): Promise<boolean> {
    const spare = this.#spare;
    this.#spare = undefined;
    const fd = spare ?? (await this.#openUnnamed());
    try {
      // Into the page cache; both take microseconds, a turn through the pool ten times as much.
      writeSync(fd, contentOf(owner));
      trySetAttribute(fd, attributeName, formatProof(proof));
      return await linkOpenFile(fd, this.#path(address));
    } catch (error) {
      // The directory is another one meanwhile, perhaps on another file system.
      if (spare !== undefined && error instanceof SyscallError) return this.create(address, owner, proof);
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  /** Has a file ready for the next lease, so that its call doesn't wait for that. */
  async prepare(): Promise<void> {
    const fd = await this.#openUnnamed();
    this.close();
    this.#spare = fd;
  }

  /** Lets go of the file that prepare made. */
  close(): void {
    if (this.#spare !== undefined) closeSync(this.#spare);
    this.#spare = undefined;
  }

  /** Removes the file if it is still this owner's. False when it isn't there. */
  async release(address: Address, owner: LeaseOwner): Promise<boolean> {
    const lease = await this.read(address);
    if (lease?.owner === undefined) return false;
    const { containerId, ifName } = lease.owner;
    if (containerId !== owner.containerId || (ifName !== "" && ifName !== owner.ifName)) return false;
    return this.remove(address);
  }

  /** False when it is gone already. */
  async remove(address: Address): Promise<boolean> {
    try {
      await unlink(this.#path(address));
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async read(address: Address): Promise<Lease | undefined> {
    const path = this.#path(address);
    try {
      const [text, { mtimeMs: modifiedMs }] = await Promise.all([readFile(path, "utf8"), stat(path)]);
      const proof = parseProof(readAttribute(path, attributeName));
      return { address, owner: parseContent(text), proof, modifiedMs };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** The addresses that have a file; other files in the directory are none of ours. */
  async addresses(): Promise<readonly Address[]> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
    return names.flatMap((name) => tryParseAddress(name) ?? []);
  }

  /** Every lease. */
  async list(): Promise<readonly Lease[]> {
    return this.readAll(await this.addresses());
  }

  /** The leases of these addresses that are there, read a few at a time. */
  async readAll(addresses: readonly Address[]): Promise<readonly Lease[]> {
    const leases: Lease[] = [];
    for (let at = 0; at < addresses.length; at += 32) {
      const some = await Promise.all(addresses.slice(at, at + 32).map((address) => this.read(address)));
      leases.push(...some.filter((lease) => lease !== undefined));
    }
    return leases;
  }

  /** Where the last allocation of a range set ended, so that addresses are used round robin. Only a hint. */
  async readCursor(set: number): Promise<Address | undefined> {
    try {
      const text = await readFile(join(this.directory, `last_reserved_ip.${set}`), "utf8");
      return tryParseAddress(text.trim());
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async writeCursor(set: number, address: Address): Promise<void> {
    const path = join(this.directory, `last_reserved_ip.${set}`);
    const temporary = `${path}.${process.pid}`;
    await writeFile(temporary, formatAddress(address));
    await rename(temporary, path);
  }
}
