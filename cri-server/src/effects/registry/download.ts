import type { IncomingMessage } from "node:http";
import type { BlobSink } from "../../ports/registry.ts";
import { type BodyRange, Inlet } from "./inlet.ts";

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
    for (let bytes = await inlet.next(); bytes !== undefined; bytes = await inlet.next()) {
      await sink.write(bytes, position);
      position += bytes.length;
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
