import { closeSync, fstatSync, openSync } from "node:fs";
import { open } from "node:fs/promises";
import { insideNetns } from "../kernel/libc.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Reply } from "./batch.ts";
import { Channel, Lane, protocols, refusal } from "./channel.ts";
import type { Link } from "./rtnetlink.ts";
import { decodeLink, doomedGroup, getLinkByName, rtm } from "./rtnetlink.ts";
import type { Message } from "./wire.ts";

/** An open network namespace. */
export interface Netns {
  readonly fd: number;
  readonly path: string;
  readonly inode: bigint;
  close(): Promise<void>;
}

/** The kernel's networking as one process sees it: one channel per kind, kept open, in the process's own namespace. */
export class Host {
  readonly #routeLane = new Lane();
  readonly #filterLane = new Lane();
  readonly #home: number;
  /** Inode of the process's own network namespace. */
  readonly inode: bigint;
  readonly route: Channel;
  #filter: Channel | undefined;

  constructor() {
    this.#home = openSync("/proc/thread-self/ns/net", "r");
    this.inode = fstatSync(this.#home, { bigint: true }).ino;
    this.route = new Channel(protocols.route, this.#routeLane);
  }

  /** Opened when first needed: the module for nf_tables may have to be loaded by it. */
  get filter(): Channel {
    this.#filter ??= new Channel(protocols.netfilter, this.#filterLane);
    return this.#filter;
  }

  /** Opens a namespace by path; `fd` saves that and stays the caller's. */
  async openNetns(path: string, fd?: number): Promise<Netns> {
    if (fd !== undefined) {
      const inode = fstatSync(fd, { bigint: true }).ino;
      return { fd, path, inode, close: () => Promise.resolve() };
    }
    let handle: Awaited<ReturnType<typeof open>>;
    try {
      handle = await open(path, "r");
    } catch (cause) {
      throw new CniError(codes.invalidNetns, `CNI_NETNS "${path}" can't be opened: ${String(cause)}`, {
        cause,
      });
    }
    const { ino: inode } = await handle.stat({ bigint: true });
    return { fd: handle.fd, path, inode, close: () => handle.close() };
  }

  /** A channel inside the namespace, after `work` has run there. */
  enter(netns: Netns, work: () => void): Channel {
    return this.inside(netns, () => {
      work();
      return new Channel(protocols.route, this.#routeLane);
    });
  }

  /** What `work` gives inside the namespace. One that isn't of the network is refused by the kernel. */
  inside<T>(netns: Netns, work: () => T): T {
    try {
      return insideNetns(netns.fd, this.#home, work);
    } catch (cause) {
      if (cause instanceof CniError) throw cause;
      throw new CniError(codes.invalidNetns, `CNI_NETNS "${netns.path}" can't be entered: ${String(cause)}`, {
        cause,
      });
    }
  }

  /** The link of this name, or undefined. One that only waits to be deleted is none. */
  async findLink(name: string): Promise<Link | undefined> {
    const link = linkOf((await this.route.request([getLinkByName(name)]))[0]);
    return link?.group === doomedGroup ? undefined : link;
  }

  /** All links of the process's namespace but those that wait to be deleted. */
  async listLinks(): Promise<readonly Link[]> {
    return (await listLinks(this.route)).filter((link) => link.group !== doomedGroup);
  }

  close(): void {
    this.route.close();
    this.#filter?.close();
    closeSync(this.#home);
  }
}

/** The link in a GETLINK reply; undefined when there is none of that name. */
export function linkOf(reply: Reply | undefined): Link | undefined {
  const part = reply?.parts.find((header) => header.type === rtm.newLink);
  return part === undefined ? undefined : decodeLink(part);
}

export async function listLinks(channel: Channel): Promise<readonly Link[]> {
  const parts = await channel.dump("list links", { type: rtm.getLink, flags: 0, body: Buffer.alloc(16) });
  return (parts ?? []).filter((part) => part.type === rtm.newLink).map(decodeLink);
}

export interface Step {
  readonly action: string;
  readonly message: Message;
  /** An errno that means "already so". */
  readonly ignore?: number;
}

/** Sends the steps as one batch; the first that the kernel refused becomes the error, named by its action. */
export async function runSteps(channel: Channel, steps: readonly Step[]): Promise<readonly Reply[]> {
  const replies = await channel.request(steps.map((step) => step.message));
  for (const [index, step] of steps.entries()) {
    const reply = replies[index];
    if (reply !== undefined && reply.errno !== 0 && reply.errno !== step.ignore)
      throw refusal(step.action, reply);
  }
  return replies;
}
