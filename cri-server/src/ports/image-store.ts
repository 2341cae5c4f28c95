import type { Digest, ImageId } from "../model/ids.ts";
import type { BlobSink, Descriptor } from "./registry.ts";

/** One layer as an image lists it. */
export interface StoredLayerRef {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
}

/** A signature for an image that a policy asked for and accepted, as cosign keeps it in a registry. */
export interface KeptSignature {
  /** What was signed: the index or the image manifest. */
  readonly digest: Digest;
  /** The signed document, base64; "" when all of the signature is a bundle. */
  readonly payload: string;
  /** base64; of a bundle its digest. */
  readonly signature: string;
  /** PEM; "" when it was made with a key. */
  readonly certificate: string;
  /** PEM, the intermediates. */
  readonly chain: string;
  /** JSON: the transparency log's receipt as cosign has it, or a bundle (sigstore_bundle.proto). */
  readonly bundle: string;
}

/** The record of one image; with the blobs of its layers it is all that must survive. */
export interface StoredImage {
  readonly id: ImageId;
  /** Canonical names with a tag. */
  readonly tags: readonly string[];
  /** Canonical names with a digest. */
  readonly digests: readonly string[];
  /** The image manifest and configuration, byte for byte. */
  readonly manifest: string;
  readonly manifestType: string;
  readonly config: string;
  readonly layers: readonly StoredLayerRef[];
  /** By which policies were satisfied, so that they can be asked again without a registry. Missing: none. */
  readonly signatures?: readonly KeptSignature[];
  /** Nanoseconds since the epoch; decides who has a tag that two images claim. */
  readonly pulledAt: bigint;
  /** Removed, but in use by a container: invisible until that ends. */
  readonly removed: boolean;
}

/** An unpacked layer. */
export interface StoredLayer {
  readonly diffId: Digest;
  /** The compressed blob that it came from. */
  readonly blob: Digest;
  readonly blobBytes: number;
  /** On disk, in whole blocks. */
  readonly bytes: number;
  readonly inodes: number;
}

export interface LoadedImages {
  readonly images: readonly StoredImage[];
  readonly layers: readonly StoredLayer[];
}

export interface UnpackResult {
  readonly blob: Digest;
  readonly diffId: Digest;
  /** Of the uncompressed archive. */
  readonly bytes: number;
  readonly entries: number;
  readonly diskBytes: number;
  readonly inodes: number;
  /** Directories that the archive used but did not describe. */
  readonly impliedDirectories: number;
  /** Extended attributes that were left out. */
  readonly skippedAttributes: number;
}

/** A layer on its way in: what is written is hashed, decompressed and unpacked as it comes. */
export interface LayerIntake extends BlobSink {
  /** Bytes that have come so far. */
  readonly arrived: number;
  /** Settles when the last byte is unpacked, or earlier with the reason why it can't be. Nothing is visible yet. */
  readonly unpacked: Promise<UnpackResult>;
  /**
   * Makes blob and directory a part of the store, in the place of what is there. The blob is durable then. With
   * `keepDirectory` an unpacked layer that is there already stays.
   */
  commit(result: UnpackResult, keepDirectory: boolean): Promise<StoredLayer>;
  /** Drops the directory; with `keepBlob` what has arrived of the blob stays for the next attempt. */
  abandon(keepBlob: boolean): Promise<void>;
}

/** Everything of images that is on disk. */
export interface ImageStore {
  /** Reads the records; drops unfinished work and what is damaged, and says so in the log. */
  load(): Promise<LoadedImages>;
  /** Durable when resolved. */
  putImage(image: StoredImage): Promise<void>;
  /** Durable when resolved. */
  deleteImage(id: ImageId): Promise<void>;
  /** Starts to take in a layer, from where an earlier attempt ended. */
  takeIn(descriptor: Descriptor): Promise<LayerIntake>;
  layerDir(diffId: Digest): string;
  blobPath(digest: Digest): string;
  /** Hashes a layer's blob, compressed and uncompressed. Resolves with what is wrong, undefined when nothing is. */
  verifyLayer(layer: StoredLayer): Promise<string | undefined>;
  /** Invisible at once; the space is freed behind. */
  removeLayer(layer: StoredLayer): Promise<void>;
  /** Removes downloads that have not grown for so long and are not under way. */
  dropPartials(idleMs: number): Promise<void>;
  /** Frees the space of what was removed, which waits for a quiet moment otherwise. */
  emptyTrash(): Promise<void>;
  /** An existing directory on the file system of the images. */
  readonly mountpoint: string;
  close(): Promise<void>;
}
