import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Unpacker, type UnpackJob } from "../../cri-server/src/effects/layer/unpacker.ts";
import type { UnpackResult } from "../../cri-server/src/ports/image-store.ts";
import type { Logger } from "../../cri-server/src/ports/logger.ts";
import { type TarEntry, tarArchive } from "../lib/tar-archive.ts";
import { sanitizedSuffix } from "./container-fixture.ts";

const native = join(import.meta.dirname, "../../native/build");

const quiet: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => quiet,
};

export interface Unpacked {
  readonly result: UnpackResult;
  readonly directory: string;
}

/** A running berth-unpack with directories of its own, and ways to feed it. */
export class UnpackFixture {
  readonly top: string;
  readonly unpacker: Unpacker;
  #count = 0;

  constructor() {
    // On a real file system: tmpfs knows no user attributes before 6.6.
    this.top = mkdtempSync("/var/tmp/berth-unpack-");
    mkdirSync(join(this.top, "images"));
    mkdirSync(join(this.top, "layers"));
    this.unpacker = new Unpacker({
      program: join(native, `berth-unpack${sanitizedSuffix}`),
      socket: join(this.top, "socket"),
      imagesDir: join(this.top, "images"),
      layersDir: join(this.top, "layers"),
      log: quiet,
    });
  }

  /** A blob's file in place, and a directory for it. */
  place(blob: Buffer | string): { name: string; directory: string; size: number } {
    this.#count += 1;
    const name = `${this.#count}`;
    const path = join(this.top, "images", name);
    if (typeof blob === "string") copyFileSync(blob, path);
    else writeFileSync(path, blob);
    const directory = join(this.top, "layers", name);
    mkdirSync(directory);
    return { name, directory, size: statSync(path).size };
  }

  start(name: string, limits: { maxBytes?: number; maxEntries?: number } = {}): UnpackJob {
    const request = { blob: name, into: name, maxBytes: 1e12, maxEntries: 1e6, ...limits };
    return this.unpacker.unpack(request);
  }

  /** Unpacks a whole blob, given as bytes or as a file. */
  async blob(
    blob: Buffer | string,
    limits: { maxBytes?: number; maxEntries?: number } = {},
  ): Promise<Unpacked> {
    const { name, directory, size } = this.place(blob);
    const job = this.start(name, limits);
    job.end(size);
    return { result: await job.done, directory };
  }

  async entries(entries: readonly TarEntry[]): Promise<Unpacked> {
    return await this.blob(tarArchive(entries));
  }

  async close(): Promise<void> {
    await this.unpacker.close();
    rmSync(this.top, { recursive: true, force: true });
  }
}
