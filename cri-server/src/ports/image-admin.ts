import type { Digest, ImageId } from "../model/ids.ts";

/** A part of the store that is not as it was when it came. */
export interface ImageProblem {
  readonly diffId: Digest;
  readonly blob: Digest;
  /** The images that are made of it. */
  readonly images: readonly ImageId[];
  readonly what: string;
}

/** What operators do with images, and kubelets never. */
export interface ImageAdmin {
  /** Hashes everything in the store anew. Empty: all is well. */
  verify(): Promise<readonly ImageProblem[]>;
}
