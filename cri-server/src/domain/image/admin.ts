import { createHash } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";
import type { Digest, ImageId } from "../../model/ids.ts";
import type { Image } from "../../model/image.ts";
import type { ImageDetails, ImageProblem } from "../../ports/image-admin.ts";
import type { ArchiveContent, ArchivedImage, ImageArchives } from "../../ports/image-archive.ts";
import type { ImageStore, StoredImage } from "../../ports/image-store.ts";
import type { Descriptor, Registry } from "../../ports/registry.ts";
import type { ImageLibrary } from "./library.ts";
import { manifestTypes } from "./manifest.ts";
import { canonicalName, parseReference } from "./reference.ts";

export interface AdminDeps {
  readonly library: ImageLibrary;
  readonly store: ImageStore;
  readonly archives: ImageArchives;
}

export async function verifyImages({ library, store }: AdminDeps): Promise<readonly ImageProblem[]> {
  const problems: ImageProblem[] = [];
  for (const layer of library.pool.all()) {
    const what = await store.verifyLayer(layer);
    // One that was removed meanwhile is missing by right.
    if (what !== undefined && library.pool.get(layer.diffId) === layer) {
      const users = library.index
        .all()
        .filter((image) => image.layers.some((one) => one.diffId === layer.diffId));
      problems.push({ diffId: layer.diffId, blob: layer.blob, images: users.map((image) => image.id), what });
    }
  }
  return problems;
}

/** See ImageAdmin.repair. `isLeased` tells whether anybody uses an image. */
export async function repairImages(
  deps: AdminDeps,
  registry: Registry,
  isLeased: (id: ImageId) => boolean,
  signal: AbortSignal,
): Promise<readonly ImageProblem[]> {
  const outcomes: ImageProblem[] = [];
  for (const problem of await verifyImages(deps)) {
    const layer = deps.library.pool.get(problem.diffId);
    const names = problem.images.flatMap((id) => deps.library.index.stored(id)?.digests ?? []);
    let what = `${problem.what}; no registry is known to have it`;
    for (const name of layer === undefined ? [] : names) {
      try {
        const repository = await registry.repository(parseReference(name), undefined);
        if (layer !== undefined) {
          await deps.library.pool.renew(layer, repository, problem.images.some(isLeased), signal);
        }
        what = "";
        break;
      } catch (error) {
        signal.throwIfAborted();
        what = `${problem.what}; ${error instanceof Error ? error.message : String(error)}`;
      }
    }
    outcomes.push({ ...problem, what });
  }
  return outcomes;
}

function storedImage({ library }: AdminDeps, reference: string): { image: Image; stored: StoredImage } {
  const image = library.index.find(reference);
  const stored = image === undefined ? undefined : library.index.stored(image.id);
  if (image === undefined || stored === undefined) {
    throw new BerthError("image-not-found", `image ${JSON.stringify(reference)} is not in the store`);
  }
  return { image, stored };
}

export function inspectImage(deps: AdminDeps, reference: string, users: readonly string[]): ImageDetails {
  const { image, stored } = storedImage(deps, reference);
  const layers = stored.layers.map(({ descriptor, diffId }) => ({
    diffId,
    blob: descriptor.digest,
    mediaType: descriptor.mediaType,
    size: descriptor.size,
    diskBytes: deps.library.pool.get(diffId)?.bytes ?? 0,
    directory: deps.store.layerDir(diffId),
  }));
  const { manifestType, manifest, config } = stored;
  return { image, manifestType, manifest, config, layers, users };
}

export async function tagImage(deps: AdminDeps, reference: string, name: string): Promise<Image> {
  const target = parseReference(name);
  if (target.digest !== undefined) {
    throw new BerthError(
      "invalid-argument",
      `name ${JSON.stringify(name)}: a digest can't be given, only a tag`,
    );
  }
  const tag = canonicalName(target);
  return await deps.library.change(async () => {
    const { stored } = storedImage(deps, reference);
    if (!stored.tags.includes(tag)) {
      await deps.library.put({ ...stored, tags: [...stored.tags, tag] });
    }
    return storedImage(deps, stored.id).image;
  });
}

export async function loadImages(
  deps: AdminDeps,
  path: string,
  name: string,
  signal: AbortSignal,
): Promise<readonly Image[]> {
  await using archive = await deps.archives.open(path);
  if (name !== "" && archive.images.length !== 1) {
    throw new BerthError(
      "invalid-argument",
      `${path} has ${archive.images.length} images: they can't all be ${JSON.stringify(name)}`,
    );
  }
  const ids: ImageId[] = [];
  for (const image of archive.images) {
    const names = namesFor(image, name);
    ids.push(await deps.library.bring(archive.repository, { ask: image.manifest, names }, signal));
  }
  return [...new Set(ids)].map((id) => storedImage(deps, id).image);
}

/** Names that an archive has and that are none (a bare tag, say) are left out: the image can be had by its id. */
function namesFor(image: ArchivedImage, name: string): readonly ReturnType<typeof parseReference>[] {
  if (name !== "") {
    return [parseReference(name)];
  }
  return image.names.flatMap((one) => {
    try {
      return [parseReference(one)];
    } catch (error) {
      if (error instanceof BerthError) {
        return [];
      }
      throw error;
    }
  });
}

/** What an archive of these images has to hold. */
export function archiveOf(deps: AdminDeps, references: readonly string[]): readonly ArchiveContent[] {
  return references.map((reference) => {
    const { image, stored } = storedImage(deps, reference);
    const config = described(stored.config, configTypeOf(stored), image.id as string as Digest);
    const layers = stored.layers.map(({ descriptor, diffId }) => ({
      descriptor,
      path: deps.store.blobPath(deps.library.pool.get(diffId)?.blob ?? descriptor.digest),
    }));
    // Layers that were there already from another image may be compressed otherwise than this image's manifest says.
    const original = JSON.parse(stored.manifest) as { layers?: { digest?: string }[] };
    const same = layers.every((layer, n) => layer.descriptor.digest === original.layers?.[n]?.digest);
    const text = same
      ? stored.manifest
      : JSON.stringify({ ...original, layers: layers.map((layer) => layer.descriptor) });
    return { names: image.repoTags, manifest: described(text, stored.manifestType), config, layers };
  });
}

function configTypeOf(stored: StoredImage): string {
  return stored.manifestType === manifestTypes.image[0]
    ? "application/vnd.oci.image.config.v1+json"
    : "application/vnd.docker.container.image.v1+json";
}

function described(
  text: string,
  mediaType: string,
  known?: Digest,
): { descriptor: Descriptor; text: string } {
  const digest: Digest = known ?? `sha256:${createHash("sha256").update(text).digest("hex")}`;
  return { descriptor: { mediaType, digest, size: Buffer.byteLength(text) }, text };
}
