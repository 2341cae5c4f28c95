import { BerthError } from "../../errors/berth-error.ts";
import { Steps } from "../../lib/steps.ts";
import type { Digest } from "../../model/ids.ts";
import type { Transfer } from "../../ports/image-admin.ts";
import type { ImageStore, LayerIntake, StoredLayer, UnpackResult } from "../../ports/image-store.ts";
import type { Logger } from "../../ports/logger.ts";
import type { Descriptor, Repository } from "../../ports/registry.ts";
import { SharedWork } from "./shared-work.ts";
import { Slots } from "./slots.ts";

/** How often a layer is fetched anew, from its first byte, when what came was not what its digest promises. */
const maxWrongContent = 2;

const progressMs = 10_000;

export interface LayerPoolDeps {
  readonly store: ImageStore;
  readonly log: Logger;
  readonly maxConcurrentDownloads: number;
}

export interface LayerRequest {
  readonly descriptor: Descriptor;
  /** Known only when the configuration has come; the download does not wait for it. */
  readonly diffId: Promise<Digest>;
  readonly repository: Repository;
}

/** The unpacked layers, shared by all images; each is fetched and unpacked once however many pulls ask for it. */
export class LayerPool {
  readonly #deps: LayerPoolDeps;
  readonly #layers = new Map<Digest, StoredLayer>();
  readonly #byBlob = new Map<Digest, Digest>();
  readonly #holds = new Map<Digest, number>();
  readonly #flights = new SharedWork<StoredLayer>();
  /** Whose repository a flight uses. */
  readonly #pilots = new Map<Digest, string>();
  readonly #slots: Slots;
  readonly #intakes = new Set<{ readonly descriptor: Descriptor; readonly intake: LayerIntake }>();
  #bytes = 0;
  #inodes = 0;

  constructor(deps: LayerPoolDeps) {
    this.#deps = deps;
    this.#slots = new Slots(deps.maxConcurrentDownloads);
  }

  /** Of everything in the pool: unpacked files and compressed blobs. */
  get usage(): { readonly bytes: number; readonly inodes: number } {
    return { bytes: this.#bytes, inodes: this.#inodes };
  }

  all(): readonly StoredLayer[] {
    return [...this.#layers.values()];
  }

  transfers(): readonly Transfer[] {
    return [...this.#intakes].map(({ descriptor: { digest, size }, intake }) => ({
      digest,
      size,
      have: intake.arrived,
    }));
  }

  get(diffId: Digest): StoredLayer | undefined {
    return this.#layers.get(diffId);
  }

  add(layer: StoredLayer): void {
    if (this.#layers.has(layer.diffId)) {
      return;
    }
    this.#layers.set(layer.diffId, layer);
    this.#byBlob.set(layer.blob, layer.diffId);
    this.#bytes += layer.bytes + layer.blobBytes;
    this.#inodes += layer.inodes + 2;
  }

  /** Makes sure that a layer is there, and holds it: `drop` has to follow. */
  async ensure(request: LayerRequest, signal: AbortSignal): Promise<StoredLayer> {
    const { descriptor } = request;
    for (;;) {
      const found = this.#byBlob.get(descriptor.digest) ?? (await this.#fly(request, signal)).diffId;
      const wanted = await request.diffId;
      if (found !== wanted) {
        throw wrongDiffId(descriptor, found, wanted);
      }
      // Nobody held it during the wait, so it may have been collected. Now it is held in the same turn.
      const layer = this.#layers.get(wanted);
      if (layer !== undefined) {
        this.#hold(wanted);
        return layer;
      }
    }
  }

  /** Fetches a layer, together with whoever wants it too. */
  async #fly(request: LayerRequest, signal: AbortSignal): Promise<StoredLayer> {
    const { descriptor, repository } = request;
    for (;;) {
      const pilot = this.#pilots.get(descriptor.digest) ?? repository.identity;
      try {
        return await this.#flights.run(descriptor.digest, signal, async (flight) => {
          this.#pilots.set(descriptor.digest, repository.identity);
          return await this.#slots
            .run(flight, async () => await this.#fetch(request, flight))
            .finally(() => {
              this.#pilots.delete(descriptor.digest);
            });
        });
      } catch (error) {
        signal.throwIfAborted();
        // That others may not see it, or can't reach it, says nothing about this pull.
        if (pilot === repository.identity) {
          throw error;
        }
      }
    }
  }

  #hold(diffId: Digest): void {
    this.#holds.set(diffId, (this.#holds.get(diffId) ?? 0) + 1);
  }

  drop(diffId: Digest): void {
    const left = (this.#holds.get(diffId) ?? 0) - 1;
    if (left > 0) {
      this.#holds.set(diffId, left);
    } else {
      this.#holds.delete(diffId);
    }
  }

  async #fetch(request: LayerRequest, signal: AbortSignal): Promise<StoredLayer> {
    for (let attempt = 1; ; attempt++) {
      const steps = new Steps();
      const intake = await this.#deps.store.takeIn(request.descriptor);
      steps.mark("open");
      this.#intakes.add({ descriptor: request.descriptor, intake });
      const progress = this.#sayProgress(request.descriptor, intake);
      try {
        const result = await receive(request, intake, signal, steps);
        steps.mark("unpack");
        const present = this.#layers.get(result.diffId);
        if (present !== undefined) {
          await intake.abandon(false);
          return present;
        }
        const layer = await intake.commit(result, false);
        steps.mark("commit");
        this.add(layer);
        this.#deps.log.debug(
          { digest: layer.blob, bytes: layer.blobBytes, steps: steps.spent },
          "a layer came",
        );
        return layer;
      } catch (error) {
        const isWrong = error instanceof WrongContent;
        const isFull = error instanceof BerthError && error.code === "resource-exhausted";
        await intake.abandon(!isWrong && !isFull);
        if (!isWrong || attempt > maxWrongContent || signal.aborted) {
          throw error;
        }
        const { digest } = request.descriptor;
        this.#deps.log.warn({ digest, err: error }, "a layer is fetched again from its start");
      } finally {
        clearInterval(progress);
        this.#forget(intake);
      }
    }
  }

  /** A pull that takes long says how far it is. */
  #sayProgress({ digest, size }: Descriptor, intake: LayerIntake): NodeJS.Timeout {
    const say = (): void => this.#deps.log.info({ digest, size, have: intake.arrived }, "a layer is coming");
    return setInterval(say, progressMs).unref();
  }

  #forget(intake: LayerIntake): void {
    for (const one of this.#intakes) {
      if (one.intake === intake) {
        this.#intakes.delete(one);
      }
    }
  }

  /** Fetches a damaged layer again. Its unpacked files are replaced too, unless they are in use. */
  async renew(
    layer: StoredLayer,
    repository: Repository,
    inUse: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const descriptor = { mediaType: "", digest: layer.blob, size: layer.blobBytes };
    const intake = await this.#deps.store.takeIn(descriptor);
    try {
      const result = await receive(
        { descriptor, diffId: Promise.resolve(layer.diffId), repository },
        intake,
        signal,
        new Steps(),
      );
      await intake.commit(result, inUse);
    } catch (error) {
      await intake.abandon(false);
      throw error;
    }
  }

  /** Removes these layers, but those that are still needed or held. */
  async collect(diffIds: Iterable<Digest>, needed: (diffId: Digest) => boolean): Promise<void> {
    for (const diffId of diffIds) {
      const layer = this.#layers.get(diffId);
      if (layer === undefined || needed(diffId) || this.#holds.has(diffId)) {
        continue;
      }
      this.#layers.delete(diffId);
      this.#byBlob.delete(layer.blob);
      this.#bytes -= layer.bytes + layer.blobBytes;
      this.#inodes -= layer.inodes + 2;
      await this.#deps.store.removeLayer(layer);
    }
  }
}

/** What came is not what its digest promises, or no layer: it may have been changed on its way. */
class WrongContent extends BerthError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("pull-failed", message, options);
  }
}

async function receive(
  request: LayerRequest,
  intake: LayerIntake,
  signal: AbortSignal,
  steps: Steps,
): Promise<UnpackResult> {
  const { descriptor, repository } = request;
  // A hostile or broken archive ends the download as soon as it is seen; a failed download ends the unpacking by abandon().
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const downloaded = repository.download(descriptor, intake, both).then(() => steps.mark("download"));
  const unpacked = intake.unpacked.catch((cause: unknown) => {
    const isWrong = cause instanceof BerthError && cause.code === "pull-failed";
    const error = isWrong
      ? new WrongContent(`layer ${descriptor.digest}: ${cause.message}`, { cause })
      : cause;
    stop.abort(error);
    throw error;
  });
  const [, result] = await Promise.all([downloaded, unpacked]);
  if (result.blob !== descriptor.digest) {
    throw new WrongContent(`layer ${descriptor.digest}: what came has the digest ${result.blob}`);
  }
  const wanted = await request.diffId;
  if (result.diffId !== wanted) {
    throw wrongDiffId(descriptor, result.diffId, wanted);
  }
  return result;
}

function wrongDiffId({ digest }: Descriptor, found: Digest, wanted: Digest): BerthError {
  return new WrongContent(
    `layer ${digest} is ${found} uncompressed; the image's configuration says ${wanted}`,
  );
}
