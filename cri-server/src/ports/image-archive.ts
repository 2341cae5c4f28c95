import type { Digest } from "../model/ids.ts";
import type { Descriptor, Repository } from "./registry.ts";

/** One image of an archive. */
export interface ArchivedImage {
  /** Names as the archive has them; may be none. */
  readonly names: readonly string[];
  readonly manifest: Digest;
}

/** An OCI layout or Docker archive that is open for reading; answers like a registry. */
export interface OpenArchive extends AsyncDisposable {
  readonly images: readonly ArchivedImage[];
  readonly repository: Repository;
}

/** What goes into a new archive. */
export interface ArchiveContent {
  readonly names: readonly string[];
  readonly manifest: { readonly descriptor: Descriptor; readonly text: string };
  readonly config: { readonly descriptor: Descriptor; readonly text: string };
  readonly layers: readonly { readonly descriptor: Descriptor; readonly path: string }[];
}

export interface ImageArchives {
  /** Rejects `invalid-argument` naming the path. */
  open(path: string): Promise<OpenArchive>;
  write(images: readonly ArchiveContent[]): AsyncIterable<Buffer>;
}
