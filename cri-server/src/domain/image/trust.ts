import { createHash, createPublicKey } from "node:crypto";
import { EXTENSION_OID_SCT, X509Certificate } from "@sigstore/core";
import type { SignedEntity, TrustMaterial } from "@sigstore/verify";
import { certificatesOf, isRoot, withIssued } from "./certificates.ts";

type Authority = TrustMaterial["certificateAuthorities"][number];
type Log = TrustMaterial["tlogs"][number];

/** A policy says whom it trusts, not for how long: its files are changed when that ends. */
const always = { start: new Date(0), end: new Date(8_640_000_000_000_000) };
/** More than anybody's chain has; each costs a check against each root. */
const maxChain = 5;

/**
 * The policy's roots, each with the intermediates that lead to it. The verifier trusts all that an authority holds, so
 * those that came with a signature are taken only if a root stands behind them.
 */
export function authoritiesOf(roots: string, chain: string): Authority[] {
  const given = certificatesOf(roots);
  const intermediates = [...given, ...certificatesOf(chain).slice(0, maxChain)];
  return given.filter(isRoot).map((root) => ({
    certChain: withIssued(root, intermediates).map(({ raw }) => X509Certificate.parse(Buffer.from(raw))),
    validFor: always,
  }));
}

/**
 * Logs go by the hash of their key (RFC 6962, 3.2). What they call themselves besides is of no account to a policy, but has
 * to be what a receipt says: of `entity` all names are right.
 */
export function logsOf(keys: readonly string[], entity?: SignedEntity): Log[] {
  const names = entity?.tlogEntries.map(({ inclusionProof }) => inclusionProof?.checkpoint?.envelope ?? "");
  return keys.map((pem) => {
    const publicKey = createPublicKey(pem);
    const logID = createHash("sha256")
      .update(publicKey.export({ type: "spki", format: "der" }))
      .digest();
    return { baseURL: names?.join("\n") ?? "", logID, publicKey, validFor: always };
  });
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
