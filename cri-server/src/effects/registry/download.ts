import type { IncomingMessage } from "node:http";
import type { BlobSink } from "../../ports/registry.ts";

/** Unwritten bytes at which a connection is paused. */
const maxQueued = 512 * 1024;

export interface BodyRange {
  /** Of the blob, where the first byte to be written goes. */
  readonly position: number;
  readonly end: number;
  /** Bytes of the body to be left out first: the host started before `position`. */
  readonly skip: number;
}

export interface BodyOutcome {
  /** Everything before it is in the sink, also after a failure. */
  readonly position: number;
  readonly failure: Error | undefined;
}

/**
 * Writes one answer's body into the sink. What comes while a write is under way goes into the next as one. A broken or
 * stalled connection is an outcome, not a rejection: the bytes that came before it count.
 */
export async function writeBody(
  answer: IncomingMessage,
  sink: BlobSink,
  range: BodyRange,
  stallMs: number,
): Promise<BodyOutcome> {
  const inlet = new Inlet(answer, range, stallMs);
  let position = range.position;
  try {
    for (let chunks = await inlet.next(); chunks !== undefined; chunks = await inlet.next()) {
      await sink.write(chunks, position);
      for (const chunk of chunks) {
        position += chunk.length;
      }
    }
  } finally {
    inlet.close();
  }
  let { failure } = inlet;
  if (failure === undefined && position < range.end) {
    failure = new Error(`the connection ended ${range.end - position} bytes early`);
  }
  return { position, failure };
}

/** The receiving half: collects what comes, and holds the other side back while too much waits. */
class Inlet {
  readonly #answer: IncomingMessage;
  readonly #timer: NodeJS.Timeout;
  #queue: Buffer[] = [];
  #queued = 0;
  #skip: number;
  /** Bytes that may still come. */
  #room: number;
  #ended = false;
  #wake: (() => void) | undefined;
  failure: Error | undefined;

  constructor(answer: IncomingMessage, range: BodyRange, stallMs: number) {
    this.#answer = answer;
    this.#skip = range.skip;
    this.#room = range.end - range.position;
    this.#timer = setTimeout(
      () => answer.destroy(new Error(`nothing came for ${stallMs / 1000} s`)),
      stallMs,
    );
    answer.on("data", (data: Buffer) => this.#take(data));
    answer.once("error", (error: Error) => {
      this.failure ??= error;
    });
    answer.once("close", () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  #take(data: Buffer): void {
    this.#timer.refresh();
    const wanted = data.subarray(Math.min(this.#skip, data.length));
    this.#skip -= data.length - wanted.length;
    const chunk = wanted.subarray(0, this.#room);
    if (chunk.length < wanted.length) {
      this.failure ??= new Error("more bytes came than the blob has");
      this.#answer.destroy();
    }
    if (chunk.length === 0) {
      return;
    }
    this.#room -= chunk.length;
    this.#queue.push(chunk);
    this.#queued += chunk.length;
    if (this.#queued > maxQueued) {
      this.#answer.pause();
    }
    this.#wake?.();
  }

  /** Everything that has come since the last call; undefined at the end. */
  async next(): Promise<readonly Buffer[] | undefined> {
    while (this.#queue.length === 0) {
      if (this.#ended) {
        return undefined;
      }
      if (this.#answer.isPaused()) {
        // Our own slowness is no stall of the other side.
        this.#timer.refresh();
        this.#answer.resume();
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const chunks = this.#queue;
    this.#queue = [];
    this.#queued = 0;
    return chunks;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#answer.destroy();
  }
}
