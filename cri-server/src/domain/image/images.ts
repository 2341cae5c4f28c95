import { BerthError } from "../../errors/berth-error.ts";
import { codeOfErrno } from "../../errors/errno.ts";
import { settleAll } from "../../lib/settle-all.ts";
import { Steps } from "../../lib/steps.ts";
import type { ImageId } from "../../model/ids.ts";
import type { Image, ImageLease, ImageReference } from "../../model/image.ts";
import type { ImageAdmin, ImageDetails, ImageProblem, Transfer } from "../../ports/image-admin.ts";
import type { ImageArchives } from "../../ports/image-archive.ts";
import type { ImagePolicy } from "../../ports/image-policy.ts";
import type { StoredImage } from "../../ports/image-store.ts";
import type { Images, ImageUse, PullRequest, StoreUsage } from "../../ports/images.ts";
import type { Registry } from "../../ports/registry.ts";
import type { Telemetry } from "../../ports/telemetry.ts";
import {
  type AdminDeps,
  archiveOf,
  inspectImage,
  loadImages,
  repairImages,
  tagImage,
  verifyImages,
} from "./admin.ts";
import { admit } from "./admission.ts";
import { authorizeUse } from "./authorize.ts";
import type { ImageIndex } from "./image-index.ts";
import { ImageLibrary, type LibraryDeps, type Order } from "./library.ts";
import { canonicalName, parseReference, repositoryName } from "./reference.ts";
import { SharedWork } from "./shared-work.ts";

/** Account files are read whole into memory; no real one comes near. */
const maxAccountFileBytes = 1024 * 1024;
const accountFiles = ["/etc/passwd", "/etc/group"] as const;

export interface ImagesDeps extends LibraryDeps {
  /** Missing: nobody counts. */
  readonly telemetry: Telemetry | undefined;
  readonly registry: Registry;
  readonly archives: ImageArchives;
  readonly policy: ImagePolicy;
  /** Tells credentials apart. */
  readonly credentialsKey: (auth: PullRequest["auth"]) => string;
  readonly readImageFiles: (
    layerDirs: readonly string[],
    paths: readonly string[],
    maxBytes: number,
  ) => Promise<readonly (Buffer | undefined)[]>;
}

interface AccountFiles {
  readonly passwd: Buffer;
  readonly group: Buffer;
}

const neverAborted = new AbortController().signal;

/** The image service over a registry and a store. */
export function createImages(deps: ImagesDeps): Images & ImageAdmin {
  return new ImageService(deps);
}

class ImageService implements Images, ImageAdmin {
  readonly #deps: ImagesDeps;
  readonly #library: ImageLibrary;
  readonly #pulls = new SharedWork<ImageId>();
  readonly #leases = new Map<string, ImageId>();
  readonly #accounts = new Map<ImageId, Promise<AccountFiles>>();

  constructor(deps: ImagesDeps) {
    this.#deps = deps;
    this.#library = new ImageLibrary(deps);
  }

  get #index(): ImageIndex {
    return this.#library.index;
  }

  get #admin(): AdminDeps {
    return { library: this.#library, store: this.#deps.store, archives: this.#deps.archives };
  }

  async open(): Promise<void> {
    await this.#library.open();
  }

  async pull(request: PullRequest, signal: AbortSignal = neverAborted): Promise<Image> {
    const reference = parseReference(request.reference);
    const name = canonicalName(reference);
    // Pods of another namespace may be under another rule, and other credentials may see other things.
    const key = JSON.stringify([name, request.namespace, this.#deps.credentialsKey(request.auth)]);
    const id = await this.#pulls.run(
      key,
      signal,
      async (shared) => await this.#counted(async () => await this.#bring(reference, request, shared)),
    );
    const image = this.#index.find(id);
    if (image === undefined) {
      throw new BerthError("pull-failed", `${name}: the image was removed while it was pulled`);
    }
    return image;
  }

  async #bring(reference: ImageReference, request: PullRequest, shared: AbortSignal): Promise<ImageId> {
    const started = performance.now();
    const steps = new Steps();
    const [rules, repository] = await settleAll([
      this.#deps.policy.rules(),
      this.#deps.registry.repository(reference, request.auth),
    ]);
    steps.mark("configuration");
    const order: Order = {
      ask: reference.digest ?? reference.tag,
      names: [reference],
      steps,
      admit: async ({ top, fetched }) => {
        const asked = {
          names: [repositoryName(reference)],
          namespace: request.namespace,
          digests: [top.digest, fetched.digest],
          // What is signed is for the registry to say: a signature that was taken back there is none.
          kept: [],
          repository: async () => repository,
        };
        return await admit(rules, asked, shared);
      },
    };
    const pulled = await this.#library.bring(repository, order, shared);
    this.#deps.log.debug({ image: pulled, steps: steps.spent }, "steps of a pull");
    const milliseconds = Math.round(performance.now() - started);
    const bytes = Number(this.#index.find(pulled)?.size ?? 0n);
    this.#deps.log.info({ image: canonicalName(reference), id: pulled, bytes, milliseconds }, "image pulled");
    return pulled;
  }

  async #counted(work: () => Promise<ImageId>): Promise<ImageId> {
    const { telemetry } = this.#deps;
    if (telemetry === undefined) {
      return await work();
    }
    const started = performance.now();
    telemetry.pullStarted();
    let outcome = "ok";
    try {
      return await work();
    } catch (error) {
      outcome = error instanceof BerthError ? error.code : codeOfErrno(error);
      throw error;
    } finally {
      telemetry.pullEnded(outcome, performance.now() - started);
    }
  }

  find(reference: string): Image | undefined {
    return this.#index.find(reference);
  }

  list(): readonly Image[] {
    return this.#index.list();
  }

  async remove(reference: string): Promise<void> {
    await this.#library.change(async () => {
      const image = this.#index.find(reference);
      const stored = image === undefined ? undefined : this.#index.stored(image.id);
      if (stored === undefined) {
        return;
      }
      if (this.#isLeased(stored.id)) {
        const hidden = { ...stored, tags: [], digests: [], removed: true };
        this.#index.put(hidden);
        await this.#deps.store.putImage(hidden);
      } else {
        await this.#delete(stored);
      }
      this.#deps.log.info({ image: reference, id: stored.id }, "image removed");
    });
  }

  async #delete(stored: StoredImage): Promise<void> {
    this.#accounts.delete(stored.id);
    await this.#library.delete(stored);
  }

  #isLeased(id: ImageId): boolean {
    return [...this.#leases.values()].includes(id);
  }

  layerDirs(id: ImageId): readonly string[] {
    const diffIds = this.#index.find(id)?.diffIds ?? [];
    return diffIds.map((diffId) => this.#deps.store.layerDir(diffId));
  }

  async lease(id: string, owner: string): Promise<ImageLease> {
    const image = this.#index.find(id);
    if (image === undefined) {
      throw new BerthError("image-not-found", `image ${JSON.stringify(id)} is not in the store`);
    }
    this.#leases.set(owner, image.id);
    const layerDirs = image.diffIds.map((diffId) => this.#deps.store.layerDir(diffId));
    try {
      return { image, layerDirs, ...(await this.#accountFiles(image.id, layerDirs)) };
    } catch (error) {
      await this.release(owner);
      throw error;
    }
  }

  async #accountFiles(id: ImageId, layerDirs: readonly string[]): Promise<AccountFiles> {
    const known = this.#accounts.get(id);
    if (known !== undefined) {
      return await known;
    }
    const reading = this.#deps
      .readImageFiles(layerDirs, accountFiles, maxAccountFileBytes)
      .then(([passwd, group]) => ({ passwd: passwd ?? Buffer.alloc(0), group: group ?? Buffer.alloc(0) }));
    this.#accounts.set(id, reading);
    reading.catch(() => this.#accounts.delete(id));
    return await reading;
  }

  async authorize(id: ImageId, use: ImageUse, signal: AbortSignal): Promise<void> {
    const { policy, registry } = this.#deps;
    await authorizeUse({ library: this.#library, policy, registry }, id, use, signal);
  }

  async release(owner: string): Promise<void> {
    const id = this.#leases.get(owner);
    if (id === undefined) {
      return;
    }
    this.#leases.delete(owner);
    await this.#dropIfUnused(id);
  }

  async #dropIfUnused(id: ImageId): Promise<void> {
    if (this.#index.stored(id)?.removed !== true) {
      return;
    }
    await this.#library.change(async () => {
      const stored = this.#index.stored(id);
      if (stored?.removed === true && !this.#isLeased(id)) {
        await this.#delete(stored);
      }
    });
  }

  async retain(owners: ReadonlyMap<string, ImageId>): Promise<void> {
    this.#leases.clear();
    for (const [owner, id] of owners) {
      this.#leases.set(owner, id);
    }
    for (const stored of this.#index.all()) {
      await this.#dropIfUnused(stored.id);
    }
  }

  async verify(): Promise<readonly ImageProblem[]> {
    return await verifyImages(this.#admin);
  }

  async repair(signal: AbortSignal): Promise<readonly ImageProblem[]> {
    return await repairImages(this.#admin, this.#deps.registry, (id) => this.#isLeased(id), signal);
  }

  transfers(): readonly Transfer[] {
    return this.#library.pool.transfers();
  }

  async inspect(reference: string): Promise<ImageDetails> {
    const id = this.#index.find(reference)?.id;
    const users = [...this.#leases].filter(([, leased]) => leased === id).map(([owner]) => owner);
    return inspectImage(this.#admin, reference, users);
  }

  async tag(reference: string, name: string): Promise<Image> {
    return await tagImage(this.#admin, reference, name);
  }

  async load(path: string, name: string, signal: AbortSignal): Promise<readonly Image[]> {
    return await loadImages(this.#admin, path, name, signal);
  }

  save(references: readonly string[]): AsyncIterable<Buffer> {
    return this.#deps.archives.write(archiveOf(this.#admin, references));
  }

  async usage(): Promise<StoreUsage> {
    const { bytes, inodes } = this.#library.pool.usage;
    let used = BigInt(bytes);
    let files = BigInt(inodes);
    for (const stored of this.#index.all()) {
      used += BigInt(stored.config.length + stored.manifest.length);
      files += 1n;
    }
    return {
      mountpoint: this.#deps.store.mountpoint,
      usedBytes: used,
      usedInodes: files,
      timestamp: this.#deps.clock.now(),
    };
  }

  async close(): Promise<void> {
    this.#library.close();
    await this.#deps.registry.close();
    await this.#deps.store.close();
  }
}
