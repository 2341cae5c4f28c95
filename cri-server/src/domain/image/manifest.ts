import { BerthError } from "../../errors/berth-error.ts";
import type { Descriptor, FetchedManifest } from "../../ports/registry.ts";
import { isDigest } from "./reference.ts";

/** What a registry can answer when it is asked for a manifest; also the order of our preference. */
export const manifestTypes = {
  index: [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
  ],
  image: [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
  ],
} as const;

const configTypes = [
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
];

/** tar archives, plain or compressed; how, the content itself says. Foreign layers lie at URLs that the image chooses. */
const layerType =
  /^application\/vnd\.(?:oci\.image\.layer\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(?:\.gzip|\.zstd)?|docker\.image\.rootfs\.foreign\.diff\.tar\.gzip|oci\.image\.layer\.nondistributable\.v1\.tar(?:\+gzip|\+zstd)?)$/;

/** More than any real image has, few enough for one overlay mount. */
const maxLayers = 512;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
}

export interface IndexEntry extends Descriptor {
  readonly platform: Platform | undefined;
}

export type Manifest =
  | { readonly kind: "index"; readonly entries: readonly IndexEntry[] }
  | { readonly kind: "image"; readonly config: Descriptor; readonly layers: readonly Descriptor[] };

/**
 * Reads an index or an image manifest. A document that could be read as both is refused, and so is one whose own media
 * type is not the one that it was served with (CVE-2021-41190).
 */
export function parseManifest(fetched: FetchedManifest): Manifest {
  const document = parseObject(fetched.bytes, `manifest ${fetched.digest}`);
  const declared = document.mediaType;
  if (declared !== undefined && declared !== fetched.mediaType) {
    throw bad(
      `manifest ${fetched.digest} says mediaType ${show(declared)}, but was served as ${fetched.mediaType}`,
    );
  }
  if (document.schemaVersion !== 2) {
    throw bad(
      `manifest ${fetched.digest} has schemaVersion ${show(document.schemaVersion)}; only 2 is supported`,
    );
  }
  if ("fsLayers" in document || ("manifests" in document && ("layers" in document || "config" in document))) {
    throw bad(
      `manifest ${fetched.digest} can be read in two ways: it has fields of an index and of an image`,
    );
  }
  if (oneOf(manifestTypes.index, fetched.mediaType)) {
    const entries = asArray(document.manifests, "manifests").map((entry, n) =>
      indexEntry(entry, `manifests[${n}]`),
    );
    return { kind: "index", entries };
  }
  if (!oneOf(manifestTypes.image, fetched.mediaType)) {
    throw bad(`manifest ${fetched.digest} has the unknown media type ${fetched.mediaType}`);
  }
  return imageManifest(document, fetched.digest);
}

function imageManifest(document: Record<string, unknown>, digest: string): Manifest {
  const config = descriptor(document.config, "config");
  if (!oneOf(configTypes, config.mediaType)) {
    throw bad(
      `manifest ${digest} is an artifact (config ${config.mediaType}, type ${show(document.artifactType ?? "none")}), not an image`,
    );
  }
  const layers = asArray(document.layers, "layers").map((layer, n) => descriptor(layer, `layers[${n}]`));
  if (layers.length > maxLayers) {
    throw bad(`manifest ${digest} has ${layers.length} layers; at most ${maxLayers} are supported`);
  }
  const strange = layers.find((layer) => !layerType.test(layer.mediaType));
  if (strange !== undefined) {
    throw bad(`manifest ${digest} has a layer of the unknown media type ${strange.mediaType}`);
  }
  return { kind: "image", config, layers };
}

/** The image for this machine; the best variant wins, then the first. Throws `pull-failed` when there is none. */
export function choosePlatform(entries: readonly IndexEntry[], wanted: Platform): Descriptor {
  let best: { entry: IndexEntry; rank: number } | undefined;
  for (const entry of entries) {
    const rank = platformRank(entry, wanted);
    if (rank > 0 && (best === undefined || rank > best.rank)) {
      best = { entry, rank };
    }
  }
  if (best === undefined) {
    const offered = entries.map(({ platform }) =>
      platform ? `${platform.os}/${platform.architecture}` : "unnamed",
    );
    throw bad(
      `the image has nothing for ${wanted.os}/${wanted.architecture}; it offers ${offered.join(", ") || "nothing"}`,
    );
  }
  return best.entry;
}

function platformRank(entry: IndexEntry, wanted: Platform): number {
  const { platform } = entry;
  if (!oneOf(manifestTypes.image, entry.mediaType)) {
    return 0;
  }
  // An entry without a platform is for any; build attestations are marked unknown/unknown.
  if (platform === undefined) {
    return 1;
  }
  if (platform.os !== wanted.os || platform.architecture !== wanted.architecture) {
    return 0;
  }
  const variant = platform.variant === "" ? wanted.variant : platform.variant;
  return variant === wanted.variant ? 3 : variant < wanted.variant ? 2 : 0;
}

function indexEntry(value: unknown, where: string): IndexEntry {
  const base = descriptor(value, where);
  const platform = isObject(value) && isObject(value.platform) ? value.platform : undefined;
  if (platform === undefined) {
    return { ...base, platform: undefined };
  }
  return {
    ...base,
    platform: {
      os: text(platform.os),
      architecture: text(platform.architecture),
      variant: text(platform.variant),
    },
  };
}

function descriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) {
    throw bad(`the manifest's ${where} is not a descriptor`);
  }
  const { mediaType, digest, size } = value;
  if (typeof mediaType !== "string" || mediaType === "") {
    throw bad(`the manifest's ${where}.mediaType is ${show(mediaType)}`);
  }
  if (typeof digest !== "string" || !isDigest(digest)) {
    throw bad(`the manifest's ${where}.digest is ${show(digest)}; only sha256 digests are supported`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw bad(`the manifest's ${where}.size is ${show(size)}`);
  }
  return { mediaType, digest, size };
}

/** Parses the bytes of a JSON object. `what` names it in the error. */
export function parseObject(bytes: Buffer, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new BerthError("pull-failed", `${what} is not JSON`, { cause });
  }
  if (!isObject(value)) {
    throw bad(`${what} is not a JSON object`);
  }
  return value;
}

function asArray(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) {
    throw bad(`the manifest's ${where} is ${show(value)}, not a list`);
  }
  return value;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function oneOf(list: readonly string[], value: string): boolean {
  return list.includes(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? "missing").slice(0, 100);
}

function bad(message: string): BerthError {
  return new BerthError("pull-failed", message);
}
