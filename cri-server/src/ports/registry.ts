import type { Digest } from "../model/ids.ts";
import type { ImageReference } from "../model/image.ts";
import type { PullAuth } from "./images.ts";

/** A blob or manifest as another document names it (OCI descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

/** A manifest or index; `digest` is of `bytes`, and was checked when it was asked for by digest. */
export interface FetchedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** Where a download goes. Parts may come in any order, and are read until `write` resolves; `have` is the number of bytes that are there from the start on. */
export interface BlobSink {
  readonly have: number;
  write(bytes: Buffer, position: number): Promise<void>;
}

/** One repository with one set of credentials, over whichever of its hosts answers. */
export interface Repository {
  /** The same for whoever may see and reach the same: name and credentials, told apart and not told. */
  readonly identity: string;
  /** By tag or digest. Rejects `image-not-found`, `pull-failed` or `registry-unavailable`. */
  manifest(reference: string, signal: AbortSignal): Promise<FetchedManifest>;
  /**
   * The index of documents that say that they are about a manifest (OCI distribution 1.1, "listing referrers"); undefined of
   * registries that know no such list. Rejects as `manifest` does.
   */
  referrers(digest: Digest, signal: AbortSignal): Promise<Buffer | undefined>;
  /** A small blob, whole and checked. */
  blob(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>;
  /** What the sink does not have yet, over as many attempts as it takes. The content is not checked. */
  download(descriptor: Descriptor, sink: BlobSink, signal: AbortSignal): Promise<void>;
}

/** The registries of the world. */
export interface Registry {
  repository(reference: ImageReference, auth: PullAuth | undefined): Promise<Repository>;
  close(): Promise<void>;
}
