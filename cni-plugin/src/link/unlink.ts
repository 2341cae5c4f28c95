import type { Host } from "./host.ts";
import { doomedGroup, IFF_UP, ifInfo, ifla, rtm, setLink } from "./rtnetlink.ts";
import { text, u32 } from "./wire.ts";

const quietMs = 50;
const longestMs = 500;
const enough = 64;

/**
 * Deleting a link waits for grace periods of the kernel, some 30 ms however little there is to do, and all other work
 * on links waits for that; 50 links in one message take no longer than one. So a link is first cut off, which is
 * quick, and deleted with its fellows when nobody asks for anything.
 */
export class UnlinkQueue {
  readonly #host: Host;
  readonly #report: (error: unknown) => void;
  #waiting = 0;
  #since = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(host: Host, report: (error: unknown) => void) {
    this.#host = host;
    this.#report = report;
  }

  /**
   * Cuts the links off the bridge. True when there was one of them. They keep their names for so long; who wants one
   * of these has the queue emptied.
   */
  async detach(names: readonly string[]): Promise<boolean> {
    const replies = await this.#host.route.request(
      names.map((name) =>
        setLink(
          name,
          { clear: IFF_UP },
          u32(ifla.master, 0),
          u32(ifla.group, doomedGroup),
          text(ifla.alias, ""),
        ),
      ),
    );
    const found = replies.filter((reply) => reply.errno === 0).length;
    for (let count = 0; count < found; count++) this.#count();
    return found > 0;
  }

  #count(): void {
    const now = performance.now();
    if (this.#waiting === 0) this.#since = now;
    this.#waiting += 1;
    clearTimeout(this.#timer);
    if (this.#waiting >= enough || now - this.#since > longestMs) void this.flush();
    else this.#timer = setTimeout(() => void this.flush(), quietMs);
  }

  /** Somebody works on links: what waits can wait a little longer. */
  postpone(): void {
    if (this.#timer === undefined || performance.now() - this.#since > longestMs) return;
    this.#timer.refresh();
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

  /** Leaves what waits to whoever deletes the group next. */
  abandon(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = 0;
  }

  /** Deletes also what a process that died has left waiting. */
  purge(): Promise<void> {
    this.#waiting += 1;
    return this.flush();
  }

  async #deleteGroup(): Promise<void> {
    const body = Buffer.concat([ifInfo(0), u32(ifla.group, doomedGroup)]);
    await this.#host.route.request([{ type: rtm.delLink, flags: 0, body }]);
  }
}
