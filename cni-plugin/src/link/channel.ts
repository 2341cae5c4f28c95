import { closeSync, openSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { getSystemErrorName } from "node:util";
import { RawNetlinkSocket } from "netlink/dist/raw.js";
import { errnos, isNetlinkSocket, sendAsync, tameNetlinkSocket } from "../kernel/libc.ts";
import { CniError, codes } from "../spec/errors.ts";
import type { Header, Message } from "./wire.ts";
import {
  attributeText,
  decodeAttributes,
  decodeMessages,
  encodeMessages,
  flags,
  messageType,
} from "./wire.ts";

export const protocols = { route: 0, netfilter: 12 } as const;

/** The kernel's answer to one message. */
export interface Reply {
  /** 0, or the positive errno. */
  readonly errno: number;
  /** What the kernel said about it, if anything (extended acknowledgement). */
  readonly note: string;
  /** Bodies of the messages that came before the acknowledgement, with their types. */
  readonly parts: readonly Header[];
}

interface Pending {
  readonly parts: Header[];
  readonly settle: (reply: Reply) => void;
}

const bufferSize = 4 << 20;
const replyTimeoutMs = 15_000;
const NLMSGERR_ATTR_MSG = 1;
const NLM_F_ACK_TLVS = 0x200;
const NLM_F_CAPPED = 0x100;
const NLM_F_DUMP_INTR = 0x10;
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
  readonly #pending = new Map<number, Pending>();
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

  /** Sends all in one go and waits for every answer. Each message is asked to be acknowledged. */
  request(messages: readonly Message[]): Promise<readonly Reply[]> {
    const marked = messages.map((message) => ({
      ...message,
      flags: message.flags | flags.request | flags.ack,
    }));
    const { first, replies } = this.#expect(marked.length);
    const patience = this.#send(encodeMessages(marked, first), first, marked.length);
    return Promise.all(replies).finally(() => patience.abort());
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
  transaction(
    begin: Message,
    messages: readonly Message[],
    end: Message,
  ): Promise<Reply & { readonly at: number }> {
    const all = [begin, ...messages, end].map((message, index) => ({
      ...message,
      flags: message.flags | flags.request | (index > 0 && index <= messages.length ? flags.ack : 0),
    }));
    const { first, replies } = this.#expect(all.length);
    const patience = this.#send(encodeMessages(all, first), first, all.length);
    const failed = Promise.withResolvers<Reply & { readonly at: number }>();
    for (const [index, reply] of replies.entries()) {
      void reply.then((value) => {
        if (value.errno !== 0) failed.resolve({ ...value, at: index - 1 });
      });
    }
    const passed = Promise.all(replies.slice(1, -1)).then(() => ({ errno: 0, note: "", parts: [], at: -1 }));
    return Promise.race([failed.promise, passed]).finally(() => {
      patience.abort();
      this.#forget(first, all.length);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#fail("netlink socket closed");
    this.#closed = true;
    if (this.#sending === 0) this.#socket.close();
  }

  #expect(count: number): { readonly first: number; readonly replies: readonly Promise<Reply>[] } {
    if (this.#closed) throw new CniError(codes.internal, "netlink socket closed");
    const first = this.#seq;
    this.#seq += count;
    if (this.#pending.size === 0) this.#socket.ref();
    const replies = Array.from({ length: count }, (_, index) => {
      return new Promise<Reply>((settle) => this.#pending.set(first + index, { parts: [], settle }));
    });
    return { first, replies };
  }

  /**
   * Sends in the order of calls, so that what undoes something comes after it, however late that was. Patience begins
   * when the kernel has taken the messages: before that they wait for others' work.
   */
  #send(bytes: Buffer, first: number, count: number): AbortController {
    const patience = new AbortController();
    this.#sending += 1;
    const sent = this.#lane.run(() => (this.#closed ? Promise.resolve() : sendAsync(this.#fd, bytes)));
    // The descriptor must stay open while a pool thread uses it, else the number could be another file by then.
    const finish = (): void => {
      this.#sending -= 1;
      if (this.#closed && this.#sending === 0) this.#socket.close();
    };
    sent.then(
      () => {
        finish();
        if (patience.signal.aborted) return;
        const timer = setTimeout(
          () => this.#giveUp(first, count, "no reply of the kernel"),
          replyTimeoutMs,
        ).unref();
        patience.signal.addEventListener("abort", () => clearTimeout(timer));
      },
      (error: unknown) => {
        finish();
        this.#giveUp(first, count, String(error));
      },
    );
    return patience;
  }

  #receive(bytes: Buffer): void {
    for (const message of decodeMessages(bytes)) {
      const pending = this.#pending.get(message.seq);
      if (pending === undefined) continue;
      if (message.type === messageType.error) this.#settle(message.seq, parseError(message, pending.parts));
      else if (message.type === messageType.done) {
        const status = message.body.length >= 4 ? -message.body.readInt32LE() : 0;
        const torn = [message, ...pending.parts].some((part) => (part.flags & NLM_F_DUMP_INTR) !== 0);
        const errno = status === 0 && torn ? errnos.EINTR : status;
        this.#settle(message.seq, { errno, note: "", parts: pending.parts });
      } else pending.parts.push(message);
    }
  }

  #settle(seq: number, reply: Reply): void {
    const pending = this.#pending.get(seq);
    if (pending === undefined) return;
    this.#pending.delete(seq);
    if (this.#pending.size === 0 && !this.#closed) this.#socket.unref();
    pending.settle(reply);
  }

  #forget(first: number, count: number): void {
    for (let seq = first; seq < first + count; seq++) this.#settle(seq, { errno: 0, note: "", parts: [] });
  }

  #giveUp(first: number, count: number, note: string): void {
    for (let seq = first; seq < first + count; seq++) this.#settle(seq, { errno: 110, note, parts: [] });
  }

  #fail(note: string): void {
    for (const seq of [...this.#pending.keys()]) this.#settle(seq, { errno: 5, note, parts: [] });
  }
}

function parseError(message: Header, parts: readonly Header[]): Reply {
  const errno = -message.body.readInt32LE(0);
  let note = "";
  if ((message.flags & NLM_F_ACK_TLVS) !== 0) {
    const payload = (message.flags & NLM_F_CAPPED) !== 0 || errno === 0 ? 16 : message.body.readUInt32LE(4);
    note =
      attributeText(decodeAttributes(message.body, 4 + ((payload + 3) & ~3)).get(NLMSGERR_ATTR_MSG)) ?? "";
  }
  return { errno, note, parts };
}
