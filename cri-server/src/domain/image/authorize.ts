import { createHash } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";
import type { Digest, ImageId } from "../../model/ids.ts";
import type { ImagePolicy } from "../../ports/image-policy.ts";
import type { KeptSignature, StoredImage } from "../../ports/image-store.ts";
import type { ImageUse } from "../../ports/images.ts";
import type { Registry } from "../../ports/registry.ts";
import { admit, withSignatures } from "./admission.ts";
import type { ImageLibrary } from "./library.ts";
import { parseReference, repositoryName } from "./reference.ts";

export interface AuthorizeDeps {
  readonly library: ImageLibrary;
  readonly policy: ImagePolicy;
  readonly registry: Registry;
}

const idPattern = /^(?:sha256:)?[0-9a-f]{12,64}$/;

/**
 * Whether the policy, as it is now, lets a pod use an image that is here: it may have been pulled for another namespace or
 * under another policy. Signatures are those that were kept at the pull; only what these do not satisfy is asked of the registry,
 * with the runtime's own credentials. Rejects `signature-invalid`.
 */
export async function authorizeUse(
  { library, policy, registry }: AuthorizeDeps,
  id: ImageId,
  use: ImageUse,
  signal: AbortSignal,
): Promise<void> {
  const rules = await policy.rules();
  const stored = library.index.stored(id);
  if (rules.length === 0 || stored === undefined) {
    return;
  }
  const request = {
    names: namesOf(stored, use.name),
    namespace: use.namespace,
    digests: digestsOf(stored),
    kept: stored.signatures ?? [],
    repository: async (name: string) => await registry.repository(parseReference(name), undefined),
  };
  let accepted: readonly KeptSignature[];
  try {
    accepted = await admit(rules, request, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof BerthError) || error.code === "signature-invalid") {
      throw error;
    }
    const message = `SignatureValidationFailed: ${id} has no signature here that the policy accepts, and its registry can't be asked: ${error.message}`;
    throw new BerthError("signature-invalid", message, { cause: error });
  }
  await keep(library, id, accepted);
}

/** Without a name, all that the image has: who asks by id must not get around the rule for one of them. */
function namesOf({ tags, digests }: StoredImage, name: string): readonly string[] {
  if (isReference(name)) {
    return [repositoryName(parseReference(name))];
  }
  const names = [...tags, ...digests].map((one) => repositoryName(parseReference(one)));
  return names.length === 0 ? [""] : [...new Set(names)];
}

function isReference(name: string): boolean {
  try {
    return !idPattern.test(name) && parseReference(name).repository !== "";
  } catch (error) {
    if (error instanceof BerthError) {
      return false;
    }
    throw error;
  }
}

function digestsOf({ manifest, digests }: StoredImage): readonly Digest[] {
  const own: Digest = `sha256:${createHash("sha256").update(manifest).digest("hex")}`;
  return [own, ...digests.map((name) => name.slice(name.indexOf("@") + 1) as Digest)];
}

/** So that the next container needs no registry. */
async function keep(library: ImageLibrary, id: ImageId, accepted: readonly KeptSignature[]): Promise<void> {
  const isNew = (stored: StoredImage): boolean =>
    accepted.some((one) => !(stored.signatures ?? []).some((kept) => kept.signature === one.signature));
  const before = library.index.stored(id);
  if (before === undefined || !isNew(before)) {
    return;
  }
  await library.change(async () => {
    const stored = library.index.stored(id);
    if (stored !== undefined && isNew(stored)) {
      await library.put({ ...stored, signatures: withSignatures(stored.signatures, accepted) });
    }
  });
}
