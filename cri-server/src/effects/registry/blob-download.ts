import type { Logger } from "../../ports/logger.ts";
import type { BlobSink, Descriptor } from "../../ports/registry.ts";
import type { DownloadMeter } from "../../ports/telemetry.ts";
import { type BodyOutcome, writeBody } from "./download.ts";
import { backoffMs, ContentFailure, isTransient, pause, toBerthError } from "./failure.ts";
import type { HostClient } from "./host-client.ts";

/** Attempts in a row without one byte of progress. */
const maxAttempts = 5;

/** How a large blob is cut. The store trusts what a killed server left up to `window` before its end. */
export interface RangePlan {
  /** Blobs with at least this much missing are fetched in ranges side by side. */
  readonly threshold: number;
  readonly segment: number;
  readonly parallel: number;
  /** How far ahead of the first gap a range may end. */
  readonly window: number;
  /** From so many bytes on an answer is read past the HTTP parser, which costs it a connection of its own. */
  readonly bulk: number;
}

export const defaultRanges: RangePlan = {
  threshold: 64 * 1024 * 1024,
  segment: 8 * 1024 * 1024,
  parallel: 3,
  window: 32 * 1024 * 1024,
  bulk: 1024 * 1024,
};

export interface BlobDownloadOptions {
  /** Of the image, for errors. */
  readonly name: string;
  /** Not empty; the first that serves does. */
  readonly hosts: readonly HostClient[];
  readonly descriptor: Descriptor;
  readonly sink: BlobSink;
  readonly stallMs: number;
  readonly ranges: RangePlan;
  readonly meter: DownloadMeter | undefined;
  readonly log: Logger;
}

/** Brings one blob into its sink: from where it ended, over as many connections and hosts as it takes. */
export class BlobDownload {
  readonly #options: BlobDownloadOptions;
  /** The host in use; the next one when it can't serve. */
  #host = 0;

  constructor(options: BlobDownloadOptions) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { descriptor, sink, ranges } = this.#options;
    const { size } = descriptor;
    if (size - sink.have < ranges.threshold || ranges.parallel < 2) {
      await this.#segment(sink.have, size, signal);
      return;
    }
    // Shows whether the host can do ranges: one that can't sends all of it.
    const reached = await this.#segment(sink.have, sink.have + ranges.segment, signal);
    if (reached < size) {
      await this.#sideBySide(reached, signal);
    }
  }

  async #sideBySide(from: number, signal: AbortSignal): Promise<void> {
    const { descriptor, ranges } = this.#options;
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const active = new Set<number>();
    let next = from;
    let moved = Promise.withResolvers<void>();
    const worker = async (): Promise<void> => {
      while (next < descriptor.size) {
        // One that has failed never makes room again.
        both.throwIfAborted();
        const lowest = Math.min(next, ...active);
        if (next - lowest > ranges.window - ranges.segment) {
          await moved.promise;
          continue;
        }
        const start = next;
        next = Math.min(start + ranges.segment, descriptor.size);
        active.add(start);
        await this.#segment(start, next, both);
        active.delete(start);
        moved.resolve();
        moved = Promise.withResolvers();
      }
    };
    const workers = Array.from({ length: ranges.parallel }, worker);
    for (const one of workers) {
      one.catch((error: unknown) => {
        stop.abort(error);
        moved.resolve();
      });
    }
    await Promise.allSettled(workers);
    signal.throwIfAborted();
    stop.signal.throwIfAborted();
  }

  /** Everything from `from` to `to`; resolves with where it ended, which is later when a host sent more than was asked. */
  async #segment(from: number, to: number, signal: AbortSignal): Promise<number> {
    let position = from;
    let attempt = 0;
    while (position < to) {
      const before = position;
      const client = this.#client();
      const outcome = await this.#once(client, position, to, signal).catch((failure: unknown) => ({
        position,
        failure,
      }));
      signal.throwIfAborted();
      position = outcome.position;
      if (outcome.failure === undefined) {
        continue;
      }
      attempt = position > before ? 0 : attempt + 1;
      await this.#afterFailure(
        client,
        outcome.failure,
        { position, attempt, moved: position > before },
        signal,
      );
    }
    return position;
  }

  #client(): HostClient {
    const client = this.#options.hosts[this.#host];
    if (client === undefined) {
      throw new Error("a download needs a host");
    }
    return client;
  }

  async #afterFailure(
    client: HostClient,
    failure: unknown,
    { position, attempt, moved }: { position: number; attempt: number; moved: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const { hosts, descriptor, name, log } = this.#options;
    const another = !moved && this.#host + 1 < hosts.length;
    if (!another && (!isTransient(failure) || attempt >= maxAttempts)) {
      throw toBerthError(`${name}: blob ${descriptor.digest}`, client.name, failure);
    }
    log.warn(
      { host: client.name, digest: descriptor.digest, position, err: failure },
      "a download goes on after a failure",
    );
    this.#options.meter?.retried();
    if (another) {
      // Segments fail side by side: only the first of them moves on.
      this.#host = Math.max(this.#host, hosts.indexOf(client) + 1);
      return;
    }
    await pause(backoffMs(attempt, failure), signal);
  }

  async #once(client: HostClient, from: number, to: number, signal: AbortSignal): Promise<BodyOutcome> {
    const { descriptor, sink, stallMs, ranges, meter } = this.#options;
    const whole = from === 0 && to === descriptor.size;
    const headers = whole ? {} : { range: `bytes=${from}-${to - 1}` };
    const answer = await client.get(`blobs/${descriptor.digest}`, {
      headers,
      bulk: to - from >= ranges.bulk,
      signal,
    });
    const partial = answer.statusCode === 206;
    const range = answer.headers["content-range"] ?? "none";
    if (partial && !range.startsWith(`bytes ${from}-`)) {
      answer.destroy();
      throw new ContentFailure(`asked for the bytes from ${from} on, got ${range}`);
    }
    const end = partial ? to : descriptor.size;
    const length = answer.headers["content-length"];
    const expected = partial ? to - from : descriptor.size;
    if (length !== undefined && Number(length) !== expected) {
      answer.destroy();
      throw new ContentFailure(`${length} bytes are announced instead of ${expected}`);
    }
    const outcome = await writeBody(answer, sink, { position: from, end, skip: partial ? 0 : from }, stallMs);
    meter?.received(outcome.position - from);
    return outcome;
  }
}
