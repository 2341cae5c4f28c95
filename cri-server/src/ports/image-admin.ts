import type { Digest, ImageId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";

/** A part of the store that is not as it was when it came. */
export interface ImageProblem {
  readonly diffId: Digest;
  readonly blob: Digest;
  /** The images that are made of it. */
  readonly images: readonly ImageId[];
  readonly what: string;
}

/** One layer as operators ask about it. */
export interface LayerDetails {
  readonly diffId: Digest;
  readonly blob: Digest;
  readonly mediaType: string;
  /** Compressed. */
  readonly size: number;
  /** Unpacked, in whole blocks. */
  readonly diskBytes: number;
  /** Where it lies unpacked; overlayfs's lower directory. */
  readonly directory: string;
}

export interface ImageDetails {
  readonly image: Image;
  readonly manifestType: string;
  /** Documents as they came. */
  readonly manifest: string;
  readonly config: string;
  /** Lowest first. */
  readonly layers: readonly LayerDetails[];
  /** Who holds it: containers, and volumes of containers. */
  readonly users: readonly string[];
}

/** A layer that is being fetched. */
export interface Transfer {
  readonly digest: Digest;
  readonly size: number;
  /** Bytes that have come. */
  readonly have: number;
}

/** What operators do with images, and kubelets never. */
export interface ImageAdmin {
  /** Hashes everything in the store anew. Empty: all is well. */
  verify(): Promise<readonly ImageProblem[]>;
  /**
   * Fetches every damaged layer again. Resolves with what was damaged; `what` is "" for those that are whole again. Layers
   * in use keep their unpacked files.
   */
  repair(signal: AbortSignal): Promise<readonly ImageProblem[]>;
  /** Of this moment, all pulls. */
  transfers(): readonly Transfer[];
  /** Rejects `image-not-found`. */
  inspect(reference: string): Promise<ImageDetails>;
  /** Gives an image one more name. */
  tag(reference: string, name: string): Promise<Image>;
  /**
   * Takes in every image of an OCI layout (directory or archive) or Docker archive. `name` is for an archive with one image
   * that has none of its own.
   */
  load(path: string, name: string, signal: AbortSignal): Promise<readonly Image[]>;
  /** The bytes of an archive with these images, an OCI layout that `docker load` understands too. */
  save(references: readonly string[]): AsyncIterable<Buffer>;
}
