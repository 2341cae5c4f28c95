import { closeSync, openSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { getSystemErrorName } from "node:util";
import { RawNetlinkSocket } from "netlink/dist/raw.js";
import { errnos, isNetlinkSocket, sendAsync, tameNetlinkSocket } from "../kernel/libc.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Reply } from "./batch.ts";
import { Batch } from "./batch.ts";
import type { Header, Message } from "./wire.ts";
import { decodeMessages, encodeMessages, flags } from "./wire.ts";

export const protocols = { route: 0, netfilter: 12 } as const;

const bufferSize = 4 << 20;
const replyTimeoutMs = 15_000;
/** What changes all the time can't be listed; then the caller hears of it. */
const dumpAttempts = 20;

/** EPERM and so on, as the kernel's own name. */
export function errnoName(errno: number): string {
  return getSystemErrorName(-errno);
}

/** The error of a refused message: what was to be done, the errno, the kernel's words. */
export function refusal(action: string, reply: Reply): CniError {
  const words = reply.note === "" ? "" : ` (${reply.note})`;
  return new CniError(codes.kernelRefused, `${action}: ${errnoName(reply.errno)}${words}`);
}

/**
 * The package keeps its descriptor to itself. Descriptors are given out lowest first, so a guess is nearly always
 * right; a pool thread may have taken the number in between, and then all are looked through.
 */
function openRaw(protocol: number): { readonly socket: RawNetlinkSocket; readonly fd: number } {
  const guess = openSync("/dev/null", "r");
  closeSync(guess);
  const socket = new RawNetlinkSocket(protocol, { recvBufferSize: bufferSize, sendBufferSize: bufferSize });
  const { port } = socket.address();
  if (isNetlinkSocket(guess, protocol, port)) return { socket, fd: guess };
  const fd = readdirSync("/proc/self/fd")
    .map(Number)
    .find((candidate) => isNetlinkSocket(candidate, protocol, port));
  if (fd === undefined) {
    socket.close();
    throw new CniError(
      codes.internal,
      "a netlink socket of this process can't be found among its descriptors",
    );
  }
  return { socket, fd };
}

/**
 * Sends of one kind wait for one lock inside the kernel. Letting a single pool thread wait for it keeps the other
 * threads, and so all file work of the process, running.
 */
export class Lane {
  #tail: Promise<void> = Promise.resolve();

  run(work: () => Promise<void>): Promise<void> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}

/**
 * recvmsg(2) says EINVAL once, without having lost anything, when it wanted to go on with a list that send(2), on another
 * thread, was just ending: an empty list, or nearly (netlink_dump() in the kernel's af_netlink.c).
 */
function isSpurious(error: Error): boolean {
  const { errno, syscall } = error as NodeJS.ErrnoException;
  return syscall === "recvmsg" && errno === errnos.EINVAL;
}

/** A netlink socket with requests and replies. It stays in the network namespace in which it was made. */
export class Channel {
  readonly #socket: RawNetlinkSocket;
  readonly #fd: number;
  readonly #lane: Lane;
  /** Few, and the kernel answers the first first. */
  readonly #batches: Batch[] = [];
  #seq = 1;
  #closed = false;
  #sending = 0;
  #dumps: Promise<unknown> = Promise.resolve();

  /** Synchronous, so that it can be called while the thread is in another namespace. */
  constructor(protocol: number, lane: Lane) {
    const { socket, fd } = openRaw(protocol);
    this.#socket = socket;
    this.#fd = fd;
    this.#lane = lane;
    tameNetlinkSocket(fd, protocol === protocols.route);
    // An exception in a listener ends the process without a word, so none may leave these.
    socket.on("message", (bytes) => this.#receive(bytes));
    socket.on("truncatedMessage", () => undefined);
    socket.on("error", (error) => {
      if (!isSpurious(error)) this.#fail(`netlink socket: ${error.message}`);
    });
    socket.unref();
  }

  /** Sends all in one go and waits until the kernel is done with the last. */
  request(messages: readonly Message[]): Promise<readonly Reply[]> {
    return this.#send(messages, messages.length - 1, false);
  }

  /**
   * Everything that the kernel lists, complete: one list at a time, as it refuses a socket a second one meanwhile, and
   * again when something changed under its hands. undefined for an errno of `absent`: there is nothing of the kind.
   */
  dump(
    action: string,
    message: Message,
    absent: readonly number[] = [],
  ): Promise<readonly Header[] | undefined> {
    const result = this.#dumps.then(() => this.#dump(action, message, absent));
    this.#dumps = result.catch(() => undefined);
    return result;
  }

  async #dump(
    action: string,
    message: Message,
    absent: readonly number[],
  ): Promise<readonly Header[] | undefined> {
    const marked = { ...message, flags: message.flags | flags.dump };
    for (let attempt = 1; ; attempt++) {
      const [reply] = await this.request([marked]);
      if (reply === undefined) throw new Error("unreachable: one request has one reply");
      if (reply.errno === 0) return reply.parts;
      if (absent.includes(reply.errno)) return undefined;
      const passing = reply.errno === errnos.EINTR || reply.errno === errnos.EBUSY;
      if (!passing || attempt === dumpAttempts) throw refusal(action, reply);
      // A burst of pods ends; waiting a little longer each time gives it a second altogether.
      await sleep(attempt * 5);
    }
  }

  /**
   * A transaction of nf_tables: between two markers, all or nothing. Resolves with the first error or with the last
   * acknowledgement; `at` is the index of the message that the kernel disliked.
   */
  async transaction(
    begin: Message,
    messages: readonly Message[],
    end: Message,
  ): Promise<Reply & { readonly at: number }> {
    if (messages.length === 0) return { errno: 0, note: "", parts: [], at: -1 };
    const replies = await this.#send([begin, ...messages, end], messages.length, true);
    const at = replies.findIndex((reply) => reply.errno !== 0);
    return { ...(replies[at] ?? { errno: 0, note: "", parts: [] }), at: at < 0 ? -1 : at - 1 };
  }

  close(): void {
    if (this.#closed) return;
    this.#fail("netlink socket closed");
    this.#closed = true;
    if (this.#sending === 0) this.#socket.close();
  }

  /**
   * Sends in the order of calls, so that what undoes something comes after it, however late that was. Answers are
   * waited for up to the message at `last`, or the first error if `brief`.
   */
  #send(messages: readonly Message[], last: number, brief: boolean): Promise<readonly Reply[]> {
    if (this.#closed) throw new CniError(codes.internal, "netlink socket closed");
    if (messages.length === 0) return Promise.resolve([]);
    const marked = messages.map((message, index) => ({
      ...message,
      flags: message.flags | flags.request | (index === last ? flags.ack : 0),
    }));
    const batch = new Batch(this.#seq, last + 1, brief);
    this.#seq += messages.length;
    if (this.#batches.length === 0) this.#socket.ref();
    this.#batches.push(batch);
    this.#write(encodeMessages(marked, batch.first), batch);
    return batch.replies;
  }

  /** Patience begins when the kernel has taken the messages: before that they wait for others' work. */
  #write(bytes: Buffer, batch: Batch): void {
    this.#sending += 1;
    const sent = this.#lane.run(() => (this.#closed ? Promise.resolve() : sendAsync(this.#fd, bytes)));
    // The descriptor must stay open while a pool thread uses it, else the number could be another file by then.
    const finish = (): void => {
      this.#sending -= 1;
      if (this.#closed && this.#sending === 0) this.#socket.close();
    };
    const giveUp = (note: string): void => this.#settle(batch, { errno: 110, note });
    sent.then(
      () => {
        finish();
        if (this.#batches.includes(batch)) batch.wait(replyTimeoutMs, () => giveUp("no reply of the kernel"));
      },
      (error: unknown) => {
        finish();
        giveUp(String(error));
      },
    );
  }

  #receive(bytes: Buffer): void {
    for (const message of decodeMessages(bytes)) {
      const batch = this.#batches.find((candidate) => candidate.has(message.seq));
      if (batch?.take(message) === true) this.#settle(batch);
    }
  }

  #settle(batch: Batch, outcome?: { readonly errno: number; readonly note: string }): void {
    const at = this.#batches.indexOf(batch);
    if (at < 0) return;
    this.#batches.splice(at, 1);
    if (this.#batches.length === 0 && !this.#closed) this.#socket.unref();
    batch.settle(outcome);
  }

  #fail(note: string): void {
    for (const batch of [...this.#batches]) this.#settle(batch, { errno: 5, note });
  }
}
