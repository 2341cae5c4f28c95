import {
  createHash,
  createPublicKey,
  type KeyObject,
  type X509Certificate as ParsedCertificate,
} from "node:crypto";
import { EXTENSION_OID_SCT, X509Certificate } from "@sigstore/core";
import type { SignedEntity, TrustMaterial } from "@sigstore/verify";
import { certificatesOf, isRoot, withIssued } from "./certificates.ts";

type Authority = TrustMaterial["certificateAuthorities"][number];
type Log = TrustMaterial["tlogs"][number];

/** A policy says whom it trusts, not for how long: its files are changed when that ends. */
const always = { start: new Date(0), end: new Date(8_640_000_000_000_000) };
/** More than anybody's chain has; each costs a check against each root. */
const maxChain = 5;
const ed25519Bytes = 32;

/**
 * The policy's roots, each with the intermediates that lead to it. The verifier trusts all that an authority holds, so
 * those that came with a signature are taken only if a root stands behind them.
 */
export function authoritiesOf(roots: string, chain: string): Authority[] {
  const given = certificatesOf(roots);
  const intermediates = [...given, ...certificatesOf(chain).slice(0, maxChain)];
  return given.filter(isRoot).map((root) => authorityOf(withIssued(root, intermediates)));
}

/** The certificate of an authority's signer and those above it. */
export function timestampAuthorityOf(chain: string): Authority {
  return authorityOf(certificatesOf(chain));
}

function authorityOf(chain: readonly ParsedCertificate[]): Authority {
  return {
    certChain: chain.map(({ raw }) => X509Certificate.parse(Buffer.from(raw))),
    validFor: always,
  };
}

/**
 * Logs go by the hash of their key (RFC 6962, 3.2), or of that and their name (Rekor 2). What they call themselves is of no
 * account to a policy, but has to be what a receipt says: of `entity` all names are right.
 */
export function logsOf(keys: readonly string[], entity?: SignedEntity): Log[] {
  const notes = entity?.tlogEntries.map(({ inclusionProof }) => inclusionProof?.checkpoint?.envelope ?? "");
  const baseURL = notes?.join("\n") ?? "";
  const names = notes?.map((note) => note.split("\n", 1)[0] ?? "") ?? [];
  return keys.flatMap((pem) => {
    const publicKey = createPublicKey(pem);
    return [keyHash(publicKey), ...noteHashes(publicKey, names)].map((logID) => ({
      baseURL,
      logID,
      publicKey,
      validFor: always,
    }));
  });
}

function keyHash(key: KeyObject): Buffer {
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest();
}

/** Of an Ed25519 key and a name, as signed notes have it (c2sp.org/signed-note, "Signature types"). */
function noteHashes(key: KeyObject, names: readonly string[]): readonly Buffer[] {
  if (key.asymmetricKeyType !== "ed25519") {
    return [];
  }
  const raw = key.export({ type: "spki", format: "der" }).subarray(-ed25519Bytes);
  return names.map((name) => createHash("sha256").update(`${name}\n\x01`).update(raw).digest());
}

/**
 * A certificate whose receipts of certificate transparency are left aside. The verifier refuses a receipt of a log that it has
 * no key of, however few it is told to ask for; it looks for them in a copy of the certificate.
 */
export class UnloggedCertificate extends X509Certificate {
  override clone(): X509Certificate {
    const copy = super.clone();
    const at = copy.extensions.findIndex(({ subs }) => subs[0]?.toOID() === EXTENSION_OID_SCT);
    if (at !== -1) {
      copy.extensions.splice(at, 1);
    }
    return copy;
  }
}
