import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { KeptSignature } from "../../ports/image-store.ts";
import type { Descriptor, Repository } from "../../ports/registry.ts";
import { isObject, parseObject } from "./manifest.ts";
import { isDigest } from "./reference.ts";

/** How cosign keeps signatures beside an image (its specs/SIGNATURE_SPEC.md). */
const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
const annotationOf = {
  signature: "dev.cosignproject.cosign/signature",
  certificate: "dev.sigstore.cosign/certificate",
  chain: "dev.sigstore.cosign/chain",
  bundle: "dev.sigstore.cosign/bundle",
} as const;
/** How it has kept them since version 3: as documents that refer to the image (its specs/BUNDLE_SPEC.md). */
const bundleType = /^application\/vnd\.dev\.sigstore\.bundle(?:\.v\d\.\d\+json|\+json;version=\d\.\d)$/;
const predicateAnnotation = "dev.sigstore.bundle.predicateType";
/** Of a bundle that says no more than that an image is one's own. */
export const signedPredicate = "https://sigstore.dev/cosign/sign/v1";
/** More than anybody signs with; each costs a request. */
const maxSignatures = 50;

/** What is beside an image, in the old form and then in the new, each fetched when it is asked for. */
export async function* signaturesOf(
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): AsyncGenerator<KeptSignature> {
  yield* taggedSignatures(repository, digest, signal);
  yield* bundles(repository, digest, signal);
}

async function* taggedSignatures(
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): AsyncGenerator<KeptSignature> {
  const tag = `${digest.replace(":", "-")}.sig`;
  const manifest = await ifThere(repository.manifest(tag, signal));
  for (const layer of listOf(manifest?.bytes, `signatures ${tag}`, "layers")) {
    const descriptor = descriptorOf(layer);
    const signature = annotation(layer, annotationOf.signature);
    if (descriptor?.mediaType !== payloadType || signature === "") {
      continue;
    }
    yield {
      digest,
      payload: (await repository.blob(descriptor, signal)).toString("base64"),
      signature,
      certificate: annotation(layer, annotationOf.certificate),
      chain: annotation(layer, annotationOf.chain),
      bundle: annotation(layer, annotationOf.bundle),
    };
  }
}

async function* bundles(
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): AsyncGenerator<KeptSignature> {
  // Beside a registry that has no such list it is under a tag (OCI distribution, "referrers tag schema").
  const index =
    (await repository.referrers(digest, signal)) ??
    (await ifThere(repository.manifest(digest.replace(":", "-"), signal)))?.bytes;
  for (const entry of listOf(index, `referrers of ${digest}`, "manifests")) {
    const predicate = annotation(entry, predicateAnnotation);
    if (!isBundle(entry.artifactType) || ![signedPredicate, ""].includes(predicate)) {
      continue;
    }
    const { bytes } = await repository.manifest(String(entry.digest), signal);
    const [layer] = listOf(bytes, `referrer ${String(entry.digest)}`, "layers");
    const descriptor = layer === undefined ? undefined : descriptorOf(layer);
    if (descriptor !== undefined && isBundle(descriptor.mediaType)) {
      const bundle = (await repository.blob(descriptor, signal)).toString("utf8");
      // All is in the bundle; only that tells such signatures apart.
      yield { digest, payload: "", signature: descriptor.digest, certificate: "", chain: "", bundle };
    }
  }
}

function isBundle(type: unknown): boolean {
  return typeof type === "string" && bundleType.test(type);
}

async function ifThere<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof BerthError && error.code === "image-not-found") {
      return undefined;
    }
    throw error;
  }
}

function listOf(
  bytes: Buffer | undefined,
  what: string,
  key: "layers" | "manifests",
): readonly Record<string, unknown>[] {
  const list = bytes === undefined ? [] : parseObject(bytes, what)[key];
  return Array.isArray(list) ? list.filter(isObject).slice(0, maxSignatures) : [];
}

function descriptorOf({ mediaType, digest, size }: Record<string, unknown>): Descriptor | undefined {
  return typeof mediaType === "string" &&
    typeof digest === "string" &&
    isDigest(digest) &&
    typeof size === "number"
    ? { mediaType, digest, size }
    : undefined;
}

function annotation({ annotations }: Record<string, unknown>, name: string): string {
  const value = isObject(annotations) ? annotations[name] : undefined;
  return typeof value === "string" ? value : "";
}
