import { randomBytes } from "node:crypto";
import { errnos } from "../kernel/libc.ts";
import type { Host } from "./host.ts";
import { IFF_UP, ifInfo, ifla, rtm, setLink } from "./rtnetlink.ts";
import { text, u32 } from "./wire.ts";

/** Links of this group wait for their end. The number spells "bert". */
export const doomedGroup = 0x62657274;

const waitMs = 50;
const enough = 64;

/**
 * Deleting a link waits for grace periods of the kernel, some 30 ms however little there is to do, and 50 links in one
 * message take no longer than one. So a link is first cut off, which is quick, and then deleted with its fellows.
 */
export class UnlinkQueue {
  readonly #host: Host;
  readonly #report: (error: unknown) => void;
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(host: Host, report: (error: unknown) => void) {
    this.#host = host;
    this.#report = report;
  }

  /** Cuts the link off the bridge and frees its name. False when there is no such link. */
  async detach(name: string): Promise<boolean> {
    const doomed = `gone${randomBytes(5).toString("hex")}`;
    const replies = await this.#host.route.request([
      setLink(name, { clear: IFF_UP }, u32(ifla.master, 0), u32(ifla.group, doomedGroup)),
      // The name last, so that the ones before find the link by it. A link can be renamed when it is down.
      setLink(name, {}, text(ifla.alias, "")),
    ]);
    const first = replies[0];
    if (first === undefined || first.errno === errnos.ENODEV) return false;
    await this.#rename(name, doomed);
    this.#schedule();
    return true;
  }

  async #rename(name: string, doomed: string): Promise<void> {
    const link = await this.#host.findLink(name);
    if (link === undefined) return;
    await this.#host.route.request([setLink(link.index, {}, text(ifla.ifname, doomed))]);
  }

  #schedule(): void {
    this.#waiting += 1;
    if (this.#waiting >= enough) void this.flush();
    else this.#timer ??= setTimeout(() => void this.flush(), waitMs);
  }

  /** Deletes what waits, and resolves when it and what went before are gone. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting > 0) {
      this.#waiting = 0;
      this.#running = this.#running.then(() => this.#deleteGroup()).catch(this.#report);
    }
    return this.#running;
  }

  async #deleteGroup(): Promise<void> {
    const body = Buffer.concat([ifInfo(0), u32(ifla.group, doomedGroup)]);
    await this.#host.route.request([{ type: rtm.delLink, flags: 0, body }]);
  }
}
