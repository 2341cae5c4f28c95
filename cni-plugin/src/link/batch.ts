import { errnos } from "../kernel/libc.ts";
import type { Header } from "./wire.ts";
import { attributeText, decodeAttributes, messageType } from "./wire.ts";

/** The kernel's answer to one message. */
export interface Reply {
  /** 0, or the positive errno. */
  readonly errno: number;
  /** What the kernel said about it, if anything (extended acknowledgement). */
  readonly note: string;
  /** Bodies of the messages that came before the acknowledgement, with their types. */
  readonly parts: readonly Header[];
}

const NLMSGERR_ATTR_MSG = 1;
const NLM_F_ACK_TLVS = 0x200;
const NLM_F_CAPPED = 0x100;
const NLM_F_DUMP_INTR = 0x10;

interface Outcome {
  readonly errno: number;
  readonly note: string;
}

const done: Outcome = { errno: 0, note: "" };

/**
 * The answers to messages that went to the kernel in one go. Only the last has to be acknowledged: the kernel takes
 * them in their order and reports each error, asked or not, so whatever it hasn't complained about by then is done.
 * An acknowledgement costs two receives and a turn of the loop.
 */
export class Batch {
  readonly first: number;
  readonly count: number;
  /** All answers, in the order of the messages. */
  readonly replies: Promise<readonly Reply[]>;
  readonly #resolve: (replies: readonly Reply[]) => void;
  readonly #parts: Header[][];
  readonly #outcomes: Outcome[];
  /** The first error is the end, and others may never come. */
  readonly #brief: boolean;
  #timer: NodeJS.Timeout | undefined;

  constructor(first: number, count: number, brief: boolean) {
    const { promise, resolve } = Promise.withResolvers<readonly Reply[]>();
    this.first = first;
    this.count = count;
    this.replies = promise;
    this.#resolve = resolve;
    this.#parts = Array.from({ length: count }, () => []);
    this.#outcomes = Array.from({ length: count }, () => done);
    this.#brief = brief;
  }

  has(seq: number): boolean {
    return seq >= this.first && seq < this.first + this.count;
  }

  /** Takes what the kernel sent; true when nothing more has to come. */
  take(message: Header): boolean {
    const index = message.seq - this.first;
    if (message.type !== messageType.error && message.type !== messageType.done) {
      this.#parts[index]?.push(message);
      return false;
    }
    const outcome =
      message.type === messageType.error ? errorOf(message) : endOf(message, this.#parts[index] ?? []);
    this.#outcomes[index] = outcome;
    return index === this.count - 1 || (this.#brief && outcome.errno !== 0);
  }

  /** Gives up when this time has passed without an end. */
  wait(patienceMs: number, giveUp: () => void): void {
    this.#timer = setTimeout(giveUp, patienceMs).unref();
  }

  /** Answers the caller: with what came, or with this outcome for every message. */
  settle(outcome?: Outcome): void {
    clearTimeout(this.#timer);
    const replies = this.#outcomes.map((own, index) => {
      const { errno, note } = outcome ?? own;
      return { errno, note, parts: this.#parts[index] ?? [] };
    });
    this.#resolve(replies);
  }
}

function errorOf(message: Header): Outcome {
  const errno = 0 - message.body.readInt32LE(0);
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, note: "" };
  const payload = (message.flags & NLM_F_CAPPED) !== 0 || errno === 0 ? 16 : message.body.readUInt32LE(4);
  const attributes = decodeAttributes(message.body, 4 + ((payload + 3) & ~3));
  return { errno, note: attributeText(attributes.get(NLMSGERR_ATTR_MSG)) ?? "" };
}

function endOf(message: Header, parts: readonly Header[]): Outcome {
  const status = message.body.length >= 4 ? 0 - message.body.readInt32LE() : 0;
  const torn = [message, ...parts].some((part) => (part.flags & NLM_F_DUMP_INTR) !== 0);
  return { errno: status === 0 && torn ? errnos.EINTR : status, note: "" };
}
