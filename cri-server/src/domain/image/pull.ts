import { BerthError } from "../../errors/berth-error.ts";
import type { Digest, ImageId } from "../../model/ids.ts";
import type { ImageReference } from "../../model/image.ts";
import type { KeptSignature, StoredImage, StoredLayerRef } from "../../ports/image-store.ts";
import type { FetchedManifest, Repository } from "../../ports/registry.ts";
import { parseImageConfig } from "./image-config.ts";
import type { LayerPool } from "./layer-pool.ts";
import { choosePlatform, type Manifest, type Platform, parseManifest } from "./manifest.ts";
import { canonicalName, repositoryName } from "./reference.ts";

export interface ResolvedImage {
  /** What the name led to: the index's digest where there is one. */
  readonly top: FetchedManifest;
  readonly fetched: FetchedManifest;
  readonly manifest: Extract<Manifest, { kind: "image" }>;
}

/** Asks for the image manifest behind a name, through an index if there is one. */
export async function resolveImage(
  repository: Repository,
  ask: string,
  platform: Platform,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const top = await repository.manifest(ask, signal);
  let fetched = top;
  let manifest = parseManifest(top);
  if (manifest.kind === "index") {
    const chosen = choosePlatform(manifest.entries, platform);
    fetched = await repository.manifest(chosen.digest, signal);
    if (fetched.mediaType !== chosen.mediaType || fetched.bytes.length !== chosen.size) {
      throw new BerthError(
        "pull-failed",
        `manifest ${chosen.digest} is not what its index says: ${fetched.mediaType}`,
      );
    }
    manifest = parseManifest(fetched);
  }
  if (manifest.kind === "index") {
    throw new BerthError("pull-failed", `manifest ${fetched.digest} is an index inside an index`);
  }
  return { top, fetched, manifest };
}

/** Everything of an image that the pool now has and holds. */
export interface FetchedContent {
  readonly config: Buffer;
  readonly layers: readonly StoredLayerRef[];
}

/** Fetches configuration and layers side by side. All layers are held; on failure none is. */
export async function fetchContent(
  repository: Repository,
  { manifest }: ResolvedImage,
  pool: LayerPool,
  signal: AbortSignal,
): Promise<FetchedContent> {
  // The first failure stops the others: nothing of this pull goes on behind its answer.
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const config = repository.blob(manifest.config, both);
  const diffIds = config.then((bytes) => checkedDiffIds(bytes, manifest));
  const held: Digest[] = [];
  const layers = manifest.layers.map(async (descriptor, n): Promise<StoredLayerRef> => {
    const diffId = diffIds.then((ids) => ids[n] ?? unreachable());
    diffId.catch(() => {});
    const layer = await pool.ensure({ descriptor, diffId, repository }, both);
    held.push(layer.diffId);
    return { descriptor: { ...descriptor, digest: layer.blob, size: layer.blobBytes }, diffId: layer.diffId };
  });
  const everything = [diffIds, ...layers];
  for (const one of everything) {
    one.catch((error: unknown) => stop.abort(error));
  }
  const settled = await Promise.allSettled(everything);
  const failed = settled.find((one) => one.status === "rejected");
  if (failed !== undefined) {
    for (const diffId of held) {
      pool.drop(diffId);
    }
    signal.throwIfAborted();
    throw stop.signal.reason ?? failed.reason;
  }
  return { config: await config, layers: await Promise.all(layers) };
}

function unreachable(): never {
  throw new BerthError("internal", "an image has more layers than were counted");
}

function checkedDiffIds(bytes: Buffer, manifest: Extract<Manifest, { kind: "image" }>): readonly Digest[] {
  const { diffIds } = parseImageConfig(bytes, manifest.config.digest);
  if (diffIds.length !== manifest.layers.length) {
    throw new BerthError(
      "pull-failed",
      `image ${manifest.config.digest}: the manifest has ${manifest.layers.length} layers, the configuration ${diffIds.length}`,
    );
  }
  return diffIds;
}

/** The record of a pulled image, with the names that earlier pulls gave it. */
export function recordOf(
  names: readonly ImageReference[],
  { top, fetched, manifest }: ResolvedImage,
  content: FetchedContent,
  before: StoredImage | undefined,
  signatures: readonly KeptSignature[],
  now: bigint,
): StoredImage {
  const kept = before === undefined || before.removed ? { tags: [], digests: [] } : before;
  const tags = names.filter((name) => name.digest === undefined).map(canonicalName);
  const digests = names.map((name) => `${repositoryName(name)}@${top.digest}`);
  return {
    id: manifest.config.digest as string as ImageId,
    tags: [...new Set([...kept.tags, ...tags])],
    digests: [...new Set([...kept.digests, ...digests])],
    manifest: fetched.bytes.toString("utf8"),
    manifestType: fetched.mediaType,
    config: content.config.toString("utf8"),
    layers: content.layers,
    ...(signatures.length === 0 ? {} : { signatures }),
    pulledAt: now,
    removed: false,
  };
}
