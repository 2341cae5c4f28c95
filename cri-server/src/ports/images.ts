import type { ImageId } from "../model/ids.ts";
import type { Image, ImageLease } from "../model/image.ts";

/** CRI AuthConfig, decoded. */
export interface PullAuth {
  readonly username: string;
  readonly password: string;
  readonly identityToken: string;
  readonly registryToken: string;
  readonly serverAddress: string;
}

export interface PullRequest {
  readonly reference: string;
  readonly auth: PullAuth | undefined;
  /** The pod's namespace; "" unknown. */
  readonly namespace: string;
}

/** Who wants to use an image, and as what. */
export interface ImageUse {
  /** What the pod calls it; "" or an id: nobody said. */
  readonly name: string;
  /** The pod's; "" unknown. */
  readonly namespace: string;
}

export interface StoreUsage {
  /** Existing directory on the file system that holds the images. */
  readonly mountpoint: string;
  readonly usedBytes: bigint;
  readonly usedInodes: bigint;
  /** Nanoseconds since the epoch. */
  readonly timestamp: bigint;
}

/** The image service. Reads are from memory and never wait for a pull. */
export interface Images {
  /** Opens the store, drops unfinished work. One damaged object never stops it. */
  open(): Promise<void>;
  pull(request: PullRequest, signal?: AbortSignal): Promise<Image>;
  /** By id (whole, or with at least 12 digits of it), tag, digest, short name. */
  find(reference: string): Image | undefined;
  list(): readonly Image[];
  /** All names of it. Success when missing. Layers in use stay until released. Resolves when it is invisible. */
  remove(reference: string): Promise<void>;
  /** Where its layers lie unpacked, lowest first; empty when it is not there. */
  layerDirs(id: ImageId): readonly string[];
  /** Holds the image for `owner` (a container id, or `<container id>/<n>` for a volume) until released. Rejects `image-not-found`. */
  lease(id: ImageId | string, owner: string): Promise<ImageLease>;
  release(owner: string): Promise<void>;
  /** Rejects `signature-invalid` when the policy, as it is now, does not let this pod use an image that is here. */
  authorize(id: ImageId, use: ImageUse, signal: AbortSignal): Promise<void>;
  /** After recovery: only these owners' leases stay. */
  retain(owners: ReadonlyMap<string, ImageId>): Promise<void>;
  usage(): Promise<StoreUsage>;
  close(): Promise<void>;
}
