import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { CertificateRequirement, KeyRequirement, PolicyRule } from "../../ports/image-policy.ts";
import type { KeptSignature } from "../../ports/image-store.ts";
import type { Descriptor, Repository } from "../../ports/registry.ts";
import { isObject, parseObject } from "./manifest.ts";
import { toPattern } from "./pattern.ts";

/** How cosign keeps signatures beside an image (its specs/SIGNATURE_SPEC.md). */
const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
const annotationOf = {
  signature: "dev.cosignproject.cosign/signature",
  certificate: "dev.sigstore.cosign/certificate",
  chain: "dev.sigstore.cosign/chain",
  bundle: "dev.sigstore.cosign/bundle",
} as const;
const claimType = "cosign container image signature";
/** More than anybody signs with; each costs a request. */
const maxSignatures = 50;

export interface AdmissionRequest {
  /** Repository names of which every one has to be allowed; one, but for images that are asked for by id. */
  readonly names: readonly string[];
  /** Of the pod; "" unknown. */
  readonly namespace: string;
  /** Any of these may be what was signed: the index, the image for this machine. */
  readonly digests: readonly Digest[];
  /** Signatures that are known already. */
  readonly kept: readonly KeptSignature[];
  /** Where others may be. */
  readonly repository: (name: string) => Promise<Repository>;
}

/**
 * Refuses, with `signature-invalid`, what the policy does not allow. Resolves with the signatures that it was satisfied by, if it
 * asked for any.
 */
export async function admit(
  rules: readonly PolicyRule[],
  request: AdmissionRequest,
  signal: AbortSignal,
): Promise<readonly KeptSignature[]> {
  const accepted: KeptSignature[] = [];
  for (const name of request.names) {
    const rule = rules.find(
      ({ images, namespaces }) =>
        images.some((pattern) => toPattern(pattern).test(name)) &&
        (namespaces.length === 0 || namespaces.includes(request.namespace)),
    );
    switch (rule?.require.kind) {
      case undefined:
      case "nothing":
        break;
      case "reject":
        throw refused(name, "the policy allows no image of this name");
      case "signature":
      case "certificate":
        accepted.push(await findSignature(name, rule.require, request, signal));
    }
  }
  return accepted;
}

type SignatureRequirement = CertificateRequirement | KeyRequirement;

async function findSignature(
  name: string,
  required: SignatureRequirement,
  { digests, kept, repository }: AdmissionRequest,
  signal: AbortSignal,
): Promise<KeptSignature> {
  for (const one of kept.filter(({ digest }) => digests.includes(digest))) {
    if ((await check(one, required)) === undefined) {
      return one;
    }
  }
  const complaints: string[] = [];
  const source = await repository(name);
  for (const digest of new Set(digests)) {
    for (const { descriptor, ...found } of await signaturesOf(source, digest, signal)) {
      const payload = await source.blob(descriptor, signal);
      const signature = { ...found, digest, payload: payload.toString("base64") };
      const complaint = await check(signature, required);
      if (complaint === undefined) {
        return signature;
      }
      complaints.push(complaint);
    }
  }
  throw refused(name, complaints.length === 0 ? "it is not signed" : [...new Set(complaints)].join("; "));
}

interface FoundSignature extends Omit<KeptSignature, "digest" | "payload"> {
  readonly descriptor: Descriptor;
}

async function signaturesOf(
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<readonly FoundSignature[]> {
  const tag = `${digest.replace(":", "-")}.sig`;
  let bytes: Buffer;
  try {
    ({ bytes } = await repository.manifest(tag, signal));
  } catch (error) {
    if (error instanceof BerthError && error.code === "image-not-found") {
      return [];
    }
    throw error;
  }
  const layers = parseObject(bytes, `signatures ${tag}`).layers;
  const found: FoundSignature[] = [];
  for (const layer of Array.isArray(layers) ? layers.slice(0, maxSignatures) : []) {
    if (!isObject(layer) || layer.mediaType !== payloadType || !isObject(layer.annotations)) {
      continue;
    }
    const { annotations, digest: of, size } = layer;
    const text = (name: string): string => {
      const value = annotations[name];
      return typeof value === "string" ? value : "";
    };
    if (text(annotationOf.signature) !== "" && typeof of === "string" && typeof size === "number") {
      found.push({
        descriptor: { mediaType: payloadType, digest: of as Digest, size },
        signature: text(annotationOf.signature),
        certificate: text(annotationOf.certificate),
        chain: text(annotationOf.chain),
        bundle: text(annotationOf.bundle),
      });
    }
  }
  return found;
}

/** What is wrong with one signature; undefined: nothing. */
async function check(found: KeptSignature, required: SignatureRequirement): Promise<string | undefined> {
  // Loaded by the first policy that asks for a signature: most servers never do.
  const { signatureProblem } = await import("./signature.ts");
  const complaint = signatureProblem(found, required);
  if (complaint !== undefined) {
    return complaint;
  }
  // Only now, as nobody's claim counts before it is signed.
  const { critical } = parseObject(Buffer.from(found.payload, "base64"), "a signed payload");
  const image = isObject(critical) ? critical.image : undefined;
  const signed = isObject(image) ? image["docker-manifest-digest"] : undefined;
  if (!isObject(critical) || critical.type !== claimType || signed !== found.digest) {
    return `a signature is for ${typeof signed === "string" ? signed : "something else"}`;
  }
  return undefined;
}

function refused(name: string, why: string): BerthError {
  return new BerthError("signature-invalid", `SignatureValidationFailed: ${name}: ${why}`);
}

/** Each once. */
export function withSignatures(
  before: readonly KeptSignature[] = [],
  accepted: readonly KeptSignature[] = [],
): readonly KeptSignature[] {
  const others = before.filter((kept) => accepted.every((one) => one.signature !== kept.signature));
  return [...others, ...accepted];
}
