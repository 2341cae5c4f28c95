import { createHash, createPublicKey, X509Certificate as ParsedCertificate, verify } from "node:crypto";
import type { Bundle, TransparencyLogEntry } from "@sigstore/bundle";
import { pem, X509Certificate } from "@sigstore/core";
import { HashAlgorithm } from "@sigstore/protobuf-specs";
import {
  type SignedEntity,
  type TrustMaterial,
  toSignedEntity,
  VerificationError,
  Verifier,
} from "@sigstore/verify";
import type { CertificateRequirement, KeyRequirement } from "../../ports/image-policy.ts";
import type { KeptSignature } from "../../ports/image-store.ts";
import { isObject } from "./manifest.ts";
import { toPattern } from "./pattern.ts";
import { authoritiesOf, logsOf, UnloggedCertificate } from "./trust.ts";

/** id-kp-codeSigning. */
const codeSigning = "1.3.6.1.5.5.7.3.3";
/** Fulcio's extensions with the identity provider: the newer holds a string of DER, the older plain bytes. */
const issuerString = "1.3.6.1.4.1.57264.1.8";
const issuerBytes = "1.3.6.1.4.1.57264.1.1";
/** GeneralName (RFC 5280, 4.2.1.6): a mail address, a URI. */
const nameTags = [1, 6];

/** Of a signature: what was signed is in `payload`, base64. */
export type CheckedSignature = Omit<KeptSignature, "digest">;

/**
 * What is wrong with a signature; undefined: nothing. Nobody is asked: the certificate has to be of the policy's roots, and
 * the log's receipt has to say that this very signature was made while the certificate was valid. Of what was signed nothing
 * is read here.
 */
export function signatureProblem(
  signed: CheckedSignature,
  required: CertificateRequirement | KeyRequirement,
): string | undefined {
  try {
    return required.kind === "certificate" ? ofCertificate(signed, required) : ofKeys(signed, required);
  } catch (error) {
    return error instanceof VerificationError
      ? meaning(error)
      : `a signature's certificate or receipt can't be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function ofCertificate(signed: CheckedSignature, required: CertificateRequirement): string | undefined {
  const { raw, keyUsage } = new ParsedCertificate(signed.certificate);
  const { root } = X509Certificate.parse(Buffer.from(raw));
  const isLogged = required.ctLogKeys.length > 0;
  const certificate = isLogged ? new X509Certificate(root) : new UnloggedCertificate(root);
  const entry = receiptOf(signed.bundle);
  const trust = {
    certificateAuthorities: authoritiesOf(required.roots, signed.chain),
    tlogs: logsOf(required.logKeys),
    ctlogs: logsOf(required.ctLogKeys),
  };
  const limits = { tlogThreshold: 1, timestampThreshold: 1, ctlogThreshold: isLogged ? 1 : 0 };
  verifierOf(trust, limits).verify({
    ...entityOf(signed, entry),
    key: { $case: "certificate", certificate },
  });
  if (keyUsage?.includes(codeSigning) !== true) {
    return "a signature's certificate is of no root of the policy for signing code";
  }
  return keyProblem(entry, raw) ?? identityProblem(certificate, required);
}

/** Which key it was is not said by the signature. */
function ofKeys(signed: CheckedSignature, { keys, logKeys }: KeyRequirement): string | undefined {
  const problems = new Set<string>();
  const entry = logKeys.length === 0 ? undefined : receiptOf(signed.bundle);
  for (const key of keys.map((text) => createPublicKey(text))) {
    const trust = { tlogs: logsOf(logKeys), publicKey: () => ({ publicKey: key, validFor: () => true }) };
    const entity = entityOf(signed, entry);
    if (key.asymmetricKeyType === "ed25519") {
      // Hashes by itself (RFC 8032), which is not among the package's ways to sign a message.
      const { signature } = entity;
      signature.verifySignature = () =>
        verify(null, Buffer.from(signed.payload, "base64"), key, signature.signature);
    }
    try {
      verifierOf(trust, { tlogThreshold: logKeys.length === 0 ? 0 : 1, timestampThreshold: 0 }).verify(
        entity,
      );
    } catch (error) {
      if (!(error instanceof VerificationError)) {
        throw error;
      }
      problems.add(
        error.code === "SIGNATURE_ERROR" ? "no signature is by a key of the policy" : meaning(error),
      );
      continue;
    }
    const problem = keyProblem(entry, key.export({ type: "spki", format: "der" }));
    if (problem === undefined) {
      return undefined;
    }
    problems.add(problem);
  }
  return [...problems].join("; ");
}

function verifierOf(
  trust: Partial<TrustMaterial>,
  limits: ConstructorParameters<typeof Verifier>[1],
): Verifier {
  const nobody: TrustMaterial = {
    certificateAuthorities: [],
    timestampAuthorities: [],
    tlogs: [],
    ctlogs: [],
    publicKey: (hint) => {
      throw new VerificationError({ code: "PUBLIC_KEY_ERROR", message: `no key ${hint} is known` });
    },
  };
  return new Verifier({ ...nobody, ...trust }, limits);
}

/** In the form of a bundle (sigstore_bundle.proto), whose key is a matter of the policy. */
function entityOf(signed: CheckedSignature, entry: TransparencyLogEntry | undefined): SignedEntity {
  const payload = Buffer.from(signed.payload, "base64");
  const bundle: Bundle = {
    mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1",
    content: {
      $case: "messageSignature",
      messageSignature: {
        messageDigest: {
          algorithm: HashAlgorithm.SHA2_256,
          digest: createHash("sha256").update(payload).digest(),
        },
        signature: Buffer.from(signed.signature, "base64"),
      },
    },
    verificationMaterial: {
      content: { $case: "publicKey", publicKey: { hint: "" } },
      tlogEntries: entry === undefined ? [] : [entry],
      timestampVerificationData: undefined,
    },
  };
  return toSignedEntity(bundle, payload);
}

/** As cosign keeps it beside a signature: undefined without what the log has signed. */
function receiptOf(text: string): TransparencyLogEntry | undefined {
  const bundle: unknown = JSON.parse(text);
  const entry = isObject(bundle) ? bundle.Payload : undefined;
  if (!isObject(bundle) || !isObject(entry)) {
    return undefined;
  }
  const { body, integratedTime, logID, logIndex } = entry;
  const promise = bundle.SignedEntryTimestamp;
  if (
    typeof body !== "string" ||
    typeof integratedTime !== "number" ||
    typeof logID !== "string" ||
    typeof logIndex !== "number" ||
    typeof promise !== "string"
  ) {
    return undefined;
  }
  return {
    logIndex: String(logIndex),
    logId: { keyId: Buffer.from(logID, "hex") },
    kindVersion: { kind: "hashedrekord", version: "0.0.1" },
    integratedTime: String(integratedTime),
    inclusionPromise: { signedEntryTimestamp: Buffer.from(promise, "base64") },
    inclusionProof: undefined,
    canonicalizedBody: Buffer.from(body, "base64"),
  };
}

/** The verifier compares the log's record with hash and signature, but not with the certificate or key. */
function keyProblem(entry: TransparencyLogEntry | undefined, der: Buffer): string | undefined {
  if (entry === undefined) {
    return undefined;
  }
  const record = JSON.parse(entry.canonicalizedBody.toString("utf8")) as {
    spec?: { signature?: { publicKey?: { content?: string } } };
  };
  const content = Buffer.from(record.spec?.signature?.publicKey?.content ?? "", "base64").toString("utf8");
  return pem.toDER(content).equals(der)
    ? undefined
    : "a signature has no valid receipt of the transparency log: it is for another key";
}

/** Not left to the verifier, which looks at the first name alone and takes letters beyond ASCII for others. */
function identityProblem(certificate: X509Certificate, required: CertificateRequirement): string | undefined {
  const names = namesOf(certificate);
  const pattern = toPattern(required.identity);
  if (!names.some((name) => pattern.test(name))) {
    return `a signature is by ${names.join(", ") || "nobody"}, not by ${required.identity}`;
  }
  const issuer = issuerOf(certificate);
  return issuer === required.issuer
    ? undefined
    : `a signature's identity is vouched for by ${issuer || "nobody"}, not by ${required.issuer}`;
}

function namesOf({ extSubjectAltName }: X509Certificate): readonly string[] {
  const names = extSubjectAltName?.valueObj.subs[0]?.subs ?? [];
  return names
    .filter(({ tag }) => nameTags.some((number) => tag.isContextSpecific(number)))
    .map(({ value }) => value.toString("latin1"));
}

function issuerOf(certificate: X509Certificate): string {
  const text = certificate.extension(issuerString);
  return text === undefined
    ? (certificate.extension(issuerBytes)?.value.toString("utf8") ?? "")
    : (text.valueObj.subs[0]?.value.toString("utf8") ?? "");
}

function meaning({ code, message, cause }: VerificationError): string {
  const why = cause instanceof Error ? cause.message : message;
  if (code.startsWith("TLOG") || code === "TIMESTAMP_ERROR") {
    return `a signature has no valid receipt of the transparency log: ${why}`;
  }
  if (code === "SIGNATURE_ERROR") {
    return "a signature is not by its certificate";
  }
  // A chain that fails has its reason as the cause; all else about a certificate is its receipts.
  return cause === undefined
    ? `a signature's certificate has no valid receipt of a certificate transparency log: ${why}`
    : `a signature's certificate is of no root of the policy, or was not valid when it was made: ${why}`;
}
