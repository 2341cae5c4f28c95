import type { IncomingMessage } from "node:http";
import type { BlobSink } from "../../ports/registry.ts";

/** Unwritten bytes at which a connection is paused. */
const maxQueued = 4 * 1024 * 1024;

/**
 * Writes one answer's body into the sink, from `position` on, at most up to `end`. Writes what has come while the last
 * write was under way as one. Resolves with the position reached; a broken or stalled connection is not an error of this
 * function's caller to lose bytes over, so what came before is written and counted first.
 */
export async function writeBody(
  answer: IncomingMessage,
  sink: BlobSink,
  range: { readonly position: number; readonly end: number; readonly skip: number },
  stallMs: number,
): Promise<{ readonly position: number; readonly failure: Error | undefined }> {
  const queue: Buffer[] = [];
  let queued = 0;
  let skip = range.skip;
  let position = range.position;
  let failure: Error | undefined;
  let ended = false;
  let wake: (() => void) | undefined;
  const timer = setTimeout(() => answer.destroy(new Error(`nothing came for ${stallMs / 1000} s`)), stallMs);
  const signal = (): void => {
    wake?.();
    wake = undefined;
  };
  answer.on("data", (data: Buffer) => {
    timer.refresh();
    let chunk = data;
    if (skip > 0) {
      chunk = data.subarray(Math.min(skip, data.length));
      skip -= data.length - chunk.length;
    }
    const room = range.end - position - queued;
    if (chunk.length > room) {
      chunk = chunk.subarray(0, Math.max(0, room));
      failure ??= new Error("more bytes came than the blob has");
      answer.destroy();
    }
    if (chunk.length > 0) {
      queue.push(chunk);
      queued += chunk.length;
      if (queued > maxQueued) {
        answer.pause();
      }
      signal();
    }
  });
  answer.once("error", (error: Error) => {
    failure ??= error;
  });
  answer.once("close", () => {
    ended = true;
    signal();
  });
  try {
    while (!ended || queue.length > 0) {
      if (queue.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const chunks = queue.splice(0);
      const length = queued;
      await sink.write(chunks, position);
      position += length;
      queued -= length;
      if (answer.isPaused()) {
        // Our own slowness is no stall of the other side.
        timer.refresh();
        answer.resume();
      }
    }
  } finally {
    clearTimeout(timer);
    answer.destroy();
  }
  if (failure === undefined && position < range.end) {
    failure = new Error(`the connection ended ${range.end - position} bytes early`);
  }
  return { position, failure };
}
