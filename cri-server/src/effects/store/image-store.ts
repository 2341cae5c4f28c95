import { chmod, mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Digest, ImageId } from "../../model/ids.ts";
import type {
  ImageStore,
  LayerIntake,
  LoadedImages,
  StoredImage,
  StoredLayer,
  UnpackResult,
} from "../../ports/image-store.ts";
import type { Logger } from "../../ports/logger.ts";
import type { Descriptor } from "../../ports/registry.ts";
import type { Unpacker } from "../layer/unpacker.ts";
import { DurableDirectory, hex, ImageFiles, layerKey, onDisk, replaceFile } from "./image-files.ts";
import { encodeRecord, type LayerRecord, readRecords } from "./image-records.ts";
import { type Intake, type IntakeLimits, partialName, startIntake } from "./layer-intake.ts";

export interface ImageStoreOptions {
  readonly root: string;
  readonly unpacker: Unpacker;
  readonly limits: IntakeLimits;
  readonly removeTrees: (paths: readonly string[]) => Promise<void>;
  readonly log: Logger;
}

/** Free space at which nobody waits for more. */
const roomyShare = 0.25;
const trashDelayMs = 5 * 60_000;

/** How long a new layer may wait for the flush that it shares with others. */
const syncDelayMs = 3000;

/**
 * Images on disk. What must survive a power cut is the blobs and the image's record, and they are durable before anybody
 * hears of the image. The unpacked files are not flushed on the way (hundreds of megabytes would have to be, for every
 * pull): a layer is marked as unsynced until a flush behind the pull, and one that still is after a power cut is unpacked
 * again from its blob.
 */
export class FileImageStore implements ImageStore {
  readonly #options: ImageStoreOptions;
  readonly #files: ImageFiles;
  readonly #blobNames: DurableDirectory;
  readonly #recordNames: DurableDirectory;
  readonly #layerNames: DurableDirectory;
  readonly #layers = new Map<Digest, LayerRecord>();
  #bootId = "";
  #syncTimer: NodeJS.Timeout | undefined;
  #syncing: Promise<void> = Promise.resolve();
  readonly #background = new Set<Promise<void>>();
  #trashed = 0;
  #trashTimer: NodeJS.Timeout | undefined;
  /** Downloads of this moment, by file name. */
  readonly #underWay = new Set<string>();

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    this.#files = new ImageFiles(options.root);
    this.#blobNames = new DurableDirectory(this.#files.blobs);
    this.#recordNames = new DurableDirectory(this.#files.records);
    this.#layerNames = new DurableDirectory(this.#files.layerRecords);
  }

  #durable(): readonly DurableDirectory[] {
    return [this.#blobNames, this.#recordNames, this.#layerNames];
  }

  get mountpoint(): string {
    return this.#files.images;
  }

  layerDir(diffId: Digest): string {
    return this.#files.layer(diffId);
  }

  blobPath(digest: Digest): string {
    return this.#files.blob(digest);
  }

  async load(): Promise<LoadedImages> {
    const files = this.#files;
    const { log, unpacker } = this.#options;
    for (const directory of [
      files.images,
      files.records,
      files.blobs,
      files.ingest,
      files.layerRecords,
      files.trash,
    ]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    // Set-user-id programs and device nodes of images are none of the machine's other users' business (CVE-2021-41103).
    for (const directory of [files.layers, join(files.layers, "tmp")]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await chmod(directory, 0o700);
    }
    await Promise.all(this.#durable().map((one) => one.open()));
    this.#bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
    await unpacker.start();
    const images = await readRecords<StoredImage>(files.records, log);
    for (const layer of await readRecords<LayerRecord>(files.layerRecords, log)) {
      this.#layers.set(layer.diffId, layer);
    }
    const usable = await this.#checkImages(images);
    await this.#sweep(usable);
    this.#scheduleSync();
    return { images: usable, layers: [...this.#layers.values()] };
  }

  /** Leaves out, and removes, images of which a part is gone for good. */
  async #checkImages(images: readonly StoredImage[]): Promise<readonly StoredImage[]> {
    const present = new Set(await readdir(this.#files.layers));
    const usable: StoredImage[] = [];
    for (const image of images) {
      try {
        for (const layer of image.layers) {
          await this.#checkLayer(layer.descriptor, layer.diffId, present);
        }
        usable.push(image);
      } catch (error) {
        this.#options.log.warn(
          { image: image.id, tags: image.tags, err: error },
          "an incomplete image is dropped",
        );
        await this.deleteImage(image.id);
      }
    }
    return usable;
  }

  async #checkLayer(descriptor: Descriptor, diffId: Digest, present: Set<string>): Promise<void> {
    const record = this.#layers.get(diffId);
    const written = record !== undefined && ["", this.#bootId].includes(record.unsyncedBoot);
    if (written && present.has(layerKey(diffId))) {
      return;
    }
    this.#options.log.warn(
      { diffId, blob: descriptor.digest },
      "a layer was not surely written; unpacking it again",
    );
    const name = `repair-${layerKey(diffId)}`;
    const into = join(this.#files.layers, "tmp", name);
    await rm(into, { recursive: true, force: true });
    await mkdir(into, { mode: 0o755 });
    const job = this.#options.unpacker.unpack({
      blob: join("blobs", "sha256", hex(descriptor.digest)),
      into: join("tmp", name),
      ...this.#options.limits,
    });
    job.end(descriptor.size);
    const result = await job.done;
    if (result.blob !== descriptor.digest || result.diffId !== diffId) {
      throw new Error(`the blob ${descriptor.digest} is damaged`);
    }
    await this.#discard(this.layerDir(diffId));
    await this.#publish(descriptor, result, into, false);
    present.add(layerKey(diffId));
  }

  /** Removes what no image refers to: after a crash that is whatever a pull or a removal left. */
  async #sweep(images: readonly StoredImage[]): Promise<void> {
    const files = this.#files;
    const diffIds = new Set(images.flatMap((image) => image.layers.map((layer) => layer.diffId)));
    const blobs = new Set(
      images.flatMap((image) => image.layers.map((layer) => hex(layer.descriptor.digest))),
    );
    for (const layer of [...this.#layers.values()]) {
      if (!diffIds.has(layer.diffId)) {
        await this.removeLayer(layer);
      }
    }
    const keys = new Set([...diffIds].map(layerKey));
    for (const name of await readdir(files.layers)) {
      if (!["records", "trash", "tmp"].includes(name) && !keys.has(name)) {
        await this.#discard(join(files.layers, name));
      }
    }
    for (const name of await readdir(join(files.layers, "tmp"))) {
      await this.#discard(join(files.layers, "tmp", name));
    }
    for (const name of await readdir(files.blobs)) {
      if (!blobs.has(name)) {
        await rm(join(files.blobs, name), { force: true });
      }
    }
    const trash = (await readdir(files.trash)).map((name) => join(files.trash, name));
    this.#behind(this.#options.removeTrees(trash));
  }

  async putImage(image: StoredImage): Promise<void> {
    await onDisk(async () => {
      const blobs = this.#blobNames.sync();
      await replaceFile(this.#recordNames, this.#files.image(image.id), encodeRecord(image), blobs);
    });
  }

  async deleteImage(id: ImageId): Promise<void> {
    await rm(this.#files.image(id), { force: true });
    await this.#recordNames.sync();
  }

  async takeIn(descriptor: Descriptor): Promise<LayerIntake> {
    const name = partialName(descriptor.digest);
    this.#underWay.add(name);
    try {
      const intake = await this.#startIntake(descriptor);
      void intake.ended.then(() => this.#underWay.delete(name));
      return intake;
    } catch (error) {
      this.#underWay.delete(name);
      throw error;
    }
  }

  async #startIntake(descriptor: Descriptor): Promise<Intake> {
    return await startIntake(
      this.#files,
      this.#options.unpacker,
      descriptor,
      this.#options.limits,
      async (result, directory, keep) => await this.#publish(descriptor, result, directory, keep),
    );
  }

  async #publish(
    descriptor: Descriptor,
    result: UnpackResult,
    directory: string,
    keepDirectory: boolean,
  ): Promise<StoredLayer> {
    const present = this.#layers.get(result.diffId);
    if (keepDirectory && present !== undefined) {
      await this.#discard(directory);
      return present;
    }
    if (present !== undefined) {
      await this.#discard(this.layerDir(result.diffId));
    }
    const record: LayerRecord = {
      diffId: result.diffId,
      blob: descriptor.digest,
      blobBytes: descriptor.size,
      bytes: result.diskBytes,
      inodes: result.inodes,
      unsyncedBoot: this.#bootId,
    };
    const recordFile = this.#files.layerRecord(result.diffId);
    try {
      await writeFile(recordFile, encodeRecord(record), { mode: 0o600 });
      await rename(directory, this.layerDir(result.diffId));
    } catch (error) {
      this.#layers.delete(result.diffId);
      await rm(recordFile, { force: true });
      throw error;
    }
    this.#layers.set(result.diffId, record);
    this.#scheduleSync();
    return record;
  }

  async verifyLayer(layer: StoredLayer): Promise<string | undefined> {
    const blob = join("blobs", "sha256", hex(layer.blob));
    const job = this.#options.unpacker.unpack({ blob, ...this.#options.limits });
    job.end(layer.blobBytes);
    try {
      const result = await job.done;
      if (result.blob !== layer.blob) {
        return `the blob's digest is ${result.blob}`;
      }
      return result.diffId === layer.diffId
        ? undefined
        : `the blob's uncompressed digest is ${result.diffId}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  async removeLayer(layer: StoredLayer): Promise<void> {
    this.#layers.delete(layer.diffId);
    await rm(this.#files.layerRecord(layer.diffId), { force: true });
    await this.#discard(this.layerDir(layer.diffId));
    await this.#discard(this.#files.blob(layer.blob));
  }

  async dropPartials(idleMs: number): Promise<void> {
    for (const name of await readdir(this.#files.ingest)) {
      const path = join(this.#files.ingest, name);
      const file = await stat(path).catch(() => undefined);
      if (file !== undefined && !this.#underWay.has(name) && file.mtimeMs <= Date.now() - idleMs) {
        await rm(path, { force: true });
      }
    }
  }

  /** Moves a tree or file out of the way, and removes it behind: even a single unlink takes long when the file is large. */
  async #discard(directory: string): Promise<void> {
    this.#trashed += 1;
    const to = join(this.#files.trash, `${process.pid}-${Date.now()}-${this.#trashed}`);
    try {
      await rename(directory, to);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") {
        return;
      }
      throw error;
    }
    await this.#emptyTrashInTime();
  }

  /**
   * ext4 does not give out an inode again for minutes after it was freed, and looks at every such inode again for each new
   * file: right after a large image went, unpacking one takes several times as long. So trees are unlinked when pulls are
   * unlikely to follow, unless the space is wanted: the kubelet collects images from 85 % on.
   */
  async #emptyTrashInTime(): Promise<void> {
    const { bavail, blocks } = await statfs(this.#files.layers);
    if (bavail < blocks * roomyShare) {
      await this.emptyTrash();
      return;
    }
    clearTimeout(this.#trashTimer);
    this.#trashTimer = setTimeout(() => this.#behind(this.emptyTrash()), trashDelayMs);
    this.#trashTimer.unref();
  }

  async emptyTrash(): Promise<void> {
    clearTimeout(this.#trashTimer);
    const names = await readdir(this.#files.trash);
    this.#behind(this.#options.removeTrees(names.map((name) => join(this.#files.trash, name))));
  }

  #behind(work: Promise<void>): void {
    const settled = work
      .catch((error: unknown) => this.#options.log.warn({ err: error }, "work behind the image store failed"))
      .finally(() => this.#background.delete(settled));
    this.#background.add(settled);
  }

  #scheduleSync(): void {
    if (
      this.#syncTimer !== undefined ||
      ![...this.#layers.values()].some((layer) => layer.unsyncedBoot !== "")
    ) {
      return;
    }
    this.#syncTimer = setTimeout(() => {
      this.#syncTimer = undefined;
      this.#syncing = this.#syncing.then(async () => await this.#sync());
      this.#behind(this.#syncing);
    }, syncDelayMs);
    this.#syncTimer.unref();
  }

  async #sync(): Promise<void> {
    const waiting = [...this.#layers.values()].filter((layer) => layer.unsyncedBoot !== "");
    await this.#options.unpacker.sync();
    for (const layer of waiting) {
      if (this.#layers.get(layer.diffId) === layer) {
        const record = { ...layer, unsyncedBoot: "" };
        this.#layers.set(layer.diffId, record);
        await replaceFile(this.#layerNames, this.#files.layerRecord(layer.diffId), encodeRecord(record));
      }
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#syncTimer);
    clearTimeout(this.#trashTimer);
    await Promise.all(this.#background);
    await Promise.all(this.#durable().map((one) => one.close()));
    await this.#options.unpacker.close();
  }
}
