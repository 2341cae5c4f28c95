import type { Digest, ImageId } from "./ids.ts";

/** The process defaults of an image (OCI image-spec config.md, `config`). */
export interface ImageConfig {
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly volumes: readonly string[];
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** One image in the store. All names of the same content are merged into one. */
export interface Image {
  readonly id: ImageId;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  /** Bytes: compressed layers plus config, never 0. */
  readonly size: bigint;
  readonly config: ImageConfig;
  /** Lowest first (OCI rootfs.diff_ids). */
  readonly diffIds: readonly Digest[];
  readonly pinned: boolean;
}

/** An image made ready to run; its layers can't be removed until released. */
export interface ImageLease {
  readonly image: Image;
  /** Host directories of the unpacked layers, LOWEST first. */
  readonly layerDirs: readonly string[];
  readonly passwd: Buffer;
  readonly group: Buffer;
}

/** A parsed image name (the grammar of the distribution project's reference package, which every client follows). */
export interface ImageReference {
  /** Host and port, as names are shown: docker.io. */
  readonly registry: string;
  /** library/busybox. */
  readonly repository: string;
  /** "" when a digest is given: a digest says all. */
  readonly tag: string;
  readonly digest: Digest | undefined;
}
