import { createHash, createPublicKey, verify, X509Certificate } from "node:crypto";
import type { CertificateRequirement } from "../../ports/image-policy.ts";
import { certificateExtension, derChildren } from "./der.ts";
import { isObject } from "./manifest.ts";
import { toPattern } from "./pattern.ts";

/** Fulcio's extensions with the identity provider: 1.3.6.1.4.1.57264.1.8 (a string), and .1.1 (plain bytes). */
const issuerString = Buffer.from("2b0601040183bf300108", "hex");
const issuerBytes = Buffer.from("2b0601040183bf300101", "hex");
const alternativeNames = Buffer.from("551d11", "hex");
/** GeneralName (RFC 5280, 4.2.1.6): a mail address, a URI. */
const nameTags = [0x81, 0x86];
/** id-kp-codeSigning. */
const codeSigning = "1.3.6.1.5.5.7.3.3";
const maxChain = 5;

/** What cosign keeps beside a signature that was made with a short-lived certificate. */
export interface CertifiedSignature {
  /** base64 */
  readonly signature: string;
  /** PEM */
  readonly certificate: string;
  /** PEM, the intermediates */
  readonly chain: string;
  /** The transparency log's receipt, JSON. */
  readonly bundle: string;
}

/**
 * Checks a signature without asking anybody: the certificate is of one of the given roots and says who signed; the log's
 * receipt says that this very signature was made while the certificate was valid. Undefined: all is well.
 */
export function checkCertified(
  payload: Buffer,
  signed: CertifiedSignature,
  required: CertificateRequirement,
): string | undefined {
  try {
    const certificate = new X509Certificate(signed.certificate);
    const when = loggedAt(payload, signed, required.logKeys);
    if (when === undefined) {
      return "a signature has no valid receipt of the transparency log";
    }
    if (!isIssued(certificate, certificatesOf(signed.chain), certificatesOf(required.roots), when)) {
      return "a signature's certificate is of no root of the policy, or was not valid when it was made";
    }
    const who = identityProblem(certificate, required);
    if (who !== undefined) {
      return who;
    }
    return verify("sha256", payload, certificate.publicKey, Buffer.from(signed.signature, "base64"))
      ? undefined
      : "a signature is not by its certificate";
  } catch (error) {
    return `a signature's certificate or receipt can't be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function certificatesOf(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function isIssued(
  leaf: X509Certificate,
  intermediates: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  when: Date,
): boolean {
  if (leaf.keyUsage?.includes(codeSigning) !== true) {
    return false;
  }
  let current = leaf;
  for (let depth = 0; depth < maxChain; depth++) {
    if (when < current.validFromDate || when > current.validToDate) {
      return false;
    }
    const above = (one: X509Certificate): boolean =>
      one.ca && current.checkIssued(one) && current.verify(one.publicKey);
    const root = roots.find(above);
    if (root !== undefined) {
      return when >= root.validFromDate && when <= root.validToDate;
    }
    const next = intermediates.find(above);
    if (next === undefined) {
      return false;
    }
    current = next;
  }
  return false;
}

function identityProblem(certificate: X509Certificate, required: CertificateRequirement): string | undefined {
  const names = namesOf(certificate.raw);
  const pattern = toPattern(required.identity);
  if (!names.some((name) => pattern.test(name))) {
    return `a signature is by ${names.join(", ") || "nobody"}, not by ${required.identity}`;
  }
  const issuer = issuerOf(certificate.raw);
  return issuer === required.issuer
    ? undefined
    : `a signature's identity is vouched for by ${issuer || "nobody"}, not by ${required.issuer}`;
}

/** Read from the certificate itself: in the text that Node makes of them one name can look like two. */
function namesOf(certificate: Buffer): readonly string[] {
  const encoded = certificateExtension(certificate, alternativeNames);
  const [list] = encoded === undefined ? [] : derChildren(encoded);
  const names = list === undefined ? [] : derChildren(list.content);
  return names.filter(({ tag }) => nameTags.includes(tag)).map(({ content }) => content.toString("latin1"));
}

function issuerOf(certificate: Buffer): string {
  const encoded = certificateExtension(certificate, issuerString);
  if (encoded !== undefined) {
    return derChildren(encoded)[0]?.content.toString("utf8") ?? "";
  }
  return certificateExtension(certificate, issuerBytes)?.toString("utf8") ?? "";
}

/** When the log took the entry in, if it is about this signature and the log's key has signed that. */
function loggedAt(payload: Buffer, signed: CertifiedSignature, logKeys: readonly string[]): Date | undefined {
  const bundle: unknown = JSON.parse(signed.bundle);
  const entry = isObject(bundle) ? bundle.Payload : undefined;
  if (!isObject(bundle) || !isObject(entry)) {
    return undefined;
  }
  const { body, integratedTime, logID, logIndex } = entry;
  const promise = bundle.SignedEntryTimestamp;
  if (typeof body !== "string" || typeof integratedTime !== "number" || typeof promise !== "string") {
    return undefined;
  }
  // Canonical JSON (RFC 8785): these keys in order, numbers and strings that have one form only.
  const canonical = Buffer.from(JSON.stringify({ body, integratedTime, logID, logIndex }));
  const isByLog = logKeys.some((pem) =>
    verify("sha256", canonical, createPublicKey(pem), Buffer.from(promise, "base64")),
  );
  return isByLog && isAbout(body, payload, signed) ? new Date(integratedTime * 1000) : undefined;
}

/** Rekor's hashedrekord: hash of the payload, signature, and the certificate as public key. */
function isAbout(body: string, payload: Buffer, signed: CertifiedSignature): boolean {
  const record = JSON.parse(Buffer.from(body, "base64").toString("utf8")) as {
    kind?: string;
    spec?: {
      data?: { hash?: { algorithm?: string; value?: string } };
      signature?: { content?: string; publicKey?: { content?: string } };
    };
  };
  const { data, signature } = record.spec ?? {};
  const certificate = Buffer.from(signature?.publicKey?.content ?? "", "base64").toString("utf8");
  return (
    record.kind === "hashedrekord" &&
    data?.hash?.algorithm === "sha256" &&
    data.hash.value === createHash("sha256").update(payload).digest("hex") &&
    signature?.content === signed.signature &&
    new X509Certificate(certificate).raw.equals(new X509Certificate(signed.certificate).raw)
  );
}
