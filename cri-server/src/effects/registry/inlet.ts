import type { IncomingMessage } from "node:http";
import { takeBody } from "./direct-body.ts";

/** Which bytes of a blob an answer's body has. */
export interface BodyRange {
  /** Of the blob, where the first byte to be written goes. */
  readonly position: number;
  readonly end: number;
  /** Bytes of the body to be left out first: the host started before `position`. */
  readonly skip: number;
}

const bufferBytes = 512 * 1024;
/** When a buffer has this much, the other side is held back. What comes at once is smaller than the rest. */
const fullBytes = bufferBytes - 192 * 1024;
/**
 * Buffers go from one download to the next, as allocating them anew has the garbage collector collect and stop the server. When
 * nothing has been downloaded for a while none are kept.
 */
const spare: Buffer[] = [];
const keepMs = 10_000;
let open = 0;
let emptying: NodeJS.Timeout | undefined;

/**
 * The receiving half of a download: collects what comes while the last of it is being written, and holds the other side
 * back when too much waits.
 */
export class Inlet {
  readonly #answer: IncomingMessage;
  readonly #timer: NodeJS.Timeout;
  readonly #isDirect: boolean;
  #filling = spare.pop() ?? Buffer.allocUnsafeSlow(bufferBytes);
  /** What the caller has. */
  #writing = spare.pop() ?? Buffer.allocUnsafeSlow(bufferBytes);
  #filled = 0;
  #skip: number;
  /** Bytes that may still come. */
  #room: number;
  #isHeld = false;
  #ended = false;
  #wake: (() => void) | undefined;
  failure: Error | undefined;

  constructor(answer: IncomingMessage, range: BodyRange, stallMs: number) {
    open += 1;
    clearTimeout(emptying);
    this.#answer = answer;
    this.#skip = range.skip;
    this.#room = range.end - range.position;
    this.#timer = setTimeout(
      () => answer.destroy(new Error(`nothing came for ${stallMs / 1000} s`)),
      stallMs,
    );
    answer.once("error", (error: Error) => {
      this.failure ??= error;
    });
    answer.once("close", () => this.#end());
    const early = takeBody(answer, (bytes) => this.#take(bytes));
    this.#isDirect = early !== undefined;
    if (early === undefined) {
      answer.on("data", (bytes: Buffer) => {
        if (!this.#take(bytes)) answer.pause();
      });
    } else {
      this.#take(early);
    }
  }

  /** False when no more should come for now. */
  #take(data: Buffer): boolean {
    if (this.#ended) {
      return false;
    }
    this.#timer.refresh();
    const wanted = data.subarray(Math.min(this.#skip, data.length));
    this.#skip -= data.length - wanted.length;
    const chunk = wanted.subarray(0, this.#room);
    if (chunk.length < wanted.length) {
      this.#fail("more bytes came than the blob has");
    }
    if (this.#filled + chunk.length > bufferBytes) {
      this.#fail("more bytes came at once than there is room for");
      return false;
    }
    chunk.copy(this.#filling, this.#filled);
    this.#filled += chunk.length;
    this.#room -= chunk.length;
    if (this.#room === 0 && this.#isDirect) {
      this.#end();
    }
    this.#isHeld = this.#filled >= fullBytes;
    this.#wake?.();
    return !this.#isHeld;
  }

  #fail(message: string): void {
    this.failure ??= new Error(message);
    this.#answer.destroy();
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Everything that has come since the last call, the caller's until he calls again; undefined at the end. */
  async next(): Promise<Buffer | undefined> {
    while (this.#filled === 0) {
      if (this.#ended) {
        return undefined;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const come = this.#filling.subarray(0, this.#filled);
    [this.#filling, this.#writing] = [this.#writing, this.#filling];
    this.#filled = 0;
    if (this.#isHeld) {
      // Our own slowness is no stall of the other side.
      this.#isHeld = false;
      this.#timer.refresh();
      (this.#isDirect ? this.#answer.socket : this.#answer).resume();
    }
    return come;
  }

  /** After the last write of what `next` gave. */
  close(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#answer.destroy();
    open -= 1;
    spare.push(this.#filling, this.#writing);
    if (open === 0) {
      emptying = setTimeout(() => spare.splice(0), keepMs).unref();
    }
  }
}
