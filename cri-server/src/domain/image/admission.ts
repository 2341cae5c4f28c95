import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { CertificateRequirement, KeyRequirement, PolicyRule } from "../../ports/image-policy.ts";
import type { KeptSignature } from "../../ports/image-store.ts";
import type { Repository } from "../../ports/registry.ts";
import { toPattern } from "./pattern.ts";
import { signaturesOf } from "./signature-source.ts";
import { Verdicts } from "./verdicts.ts";

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
    for await (const signature of signaturesOf(source, digest, signal)) {
      const complaint = await check(signature, required);
      if (complaint === undefined) {
        return signature;
      }
      complaints.push(complaint);
    }
  }
  throw refused(name, complaints.length === 0 ? "it is not signed" : [...new Set(complaints)].join("; "));
}

const verdicts = new Verdicts();

/** What is wrong with one signature; undefined: nothing. Depends on nothing else, not even on the time. */
async function check(found: KeptSignature, required: SignatureRequirement): Promise<string | undefined> {
  // Loaded by the first policy that asks for a signature: most servers never do.
  const { claimProblem, signatureProblem } = await import("./signature.ts");
  // The claim only then, as nobody's counts before it is signed.
  return verdicts.of([found, required], () => signatureProblem(found, required) ?? claimProblem(found));
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
