import { createPublicKey, X509Certificate as ParsedCertificate, verify } from "node:crypto";
import { X509Certificate } from "@sigstore/core";
import { type SignedEntity, type TrustMaterial, VerificationError, Verifier } from "@sigstore/verify";
import type { CertificateRequirement, KeyRequirement } from "../../ports/image-policy.ts";
import type { KeptSignature } from "../../ports/image-store.ts";
import { keyIn } from "./log-record.ts";
import { isObject, parseObject } from "./manifest.ts";
import { toPattern } from "./pattern.ts";
import { type CheckedSignature, envelopeOf, formOf } from "./signature-form.ts";
import { signedPredicate } from "./signature-source.ts";
import { authoritiesOf, logsOf, timestampAuthorityOf, UnloggedCertificate } from "./trust.ts";

/** id-kp-codeSigning. */
const codeSigning = "1.3.6.1.5.5.7.3.3";
/** Fulcio's extensions with the identity provider: the newer holds a string of DER, the older plain bytes. */
const issuerString = "1.3.6.1.4.1.57264.1.8";
const issuerBytes = "1.3.6.1.4.1.57264.1.1";
/** Of what is signed: cosign's own document, and an in-toto statement. */
const claimType = "cosign container image signature";
const statementType = "application/vnd.in-toto+json";
/** GeneralName (RFC 5280, 4.2.1.6): a mail address, a URI. */
const nameTags = [1, 6];

/**
 * What is wrong with a signature; undefined: nothing. Nobody is asked: the certificate has to be of the policy's roots, and
 * the log's receipt or a time stamp has to say that this very signature was made while the certificate was valid. Of what was signed nothing
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

/** What a signature that is good says, if it is not that the image with its digest is signed. */
export function claimProblem(found: KeptSignature): string | undefined {
  const named = found.payload === "" ? namedByStatement(found) : namedByClaim(found);
  return named.includes(found.digest)
    ? undefined
    : `a signature is for ${named.join(", ") || "something else"}`;
}

function namedByClaim({ payload }: KeptSignature): readonly string[] {
  const { critical } = parseObject(Buffer.from(payload, "base64"), "a signed payload");
  const image = isObject(critical) ? critical.image : undefined;
  const digest = isObject(image) ? image["docker-manifest-digest"] : undefined;
  return isObject(critical) && critical.type === claimType && typeof digest === "string" ? [digest] : [];
}

/** An attestation of something else about the image is no signature of it. */
function namedByStatement(found: KeptSignature): readonly string[] {
  const { type, document } = envelopeOf(found);
  const statement = parseObject(document, "a signed statement");
  if (
    type !== statementType ||
    statement.predicateType !== signedPredicate ||
    !Array.isArray(statement.subject)
  ) {
    return [];
  }
  return statement.subject
    .filter(isObject)
    .map(({ digest }) => (isObject(digest) ? `sha256:${String(digest.sha256)}` : ""));
}

function ofCertificate(signed: CheckedSignature, required: CertificateRequirement): string | undefined {
  const timestamps = required.timestampAuthorities.length > 0;
  const { entity, chain, ...form } = formOf(signed, { logs: true, timestamps });
  if (form.certificate === undefined) {
    throw new Error("there is no certificate");
  }
  const { raw, keyUsage } = new ParsedCertificate(form.certificate);
  const { root } = X509Certificate.parse(Buffer.from(raw));
  const isLogged = required.ctLogKeys.length > 0;
  const certificate = isLogged ? new X509Certificate(root) : new UnloggedCertificate(root);
  const trust = {
    certificateAuthorities: authoritiesOf(required.roots, chain),
    tlogs: logsOf(required.logKeys, entity),
    ctlogs: logsOf(required.ctLogKeys),
    timestampAuthorities: required.timestampAuthorities.map(timestampAuthorityOf),
  };
  const limits = { tlogThreshold: 1, timestampThreshold: 1, ctlogThreshold: isLogged ? 1 : 0 };
  verifierOf(trust, limits).verify({ ...entity, key: { $case: "certificate", certificate } });
  if (keyUsage?.includes(codeSigning) !== true) {
    return "a signature's certificate is of no root of the policy for signing code";
  }
  return keyProblem(entity, raw) ?? identityProblem(certificate, required);
}

/** Which key it was is not said by the signature. */
function ofKeys(signed: CheckedSignature, { keys, logKeys }: KeyRequirement): string | undefined {
  const problems = new Set<string>();
  const isLogged = logKeys.length > 0;
  for (const key of keys.map((text) => createPublicKey(text))) {
    const entity = {
      ...formOf(signed, { logs: isLogged, timestamps: false }).entity,
      key: { $case: "public-key" as const, hint: "" },
    };
    const trust = {
      tlogs: logsOf(logKeys, entity),
      publicKey: () => ({ publicKey: key, validFor: () => true }),
    };
    if (key.asymmetricKeyType === "ed25519" && signed.payload !== "") {
      // Hashes by itself (RFC 8032), which is not among the package's ways to sign a message.
      const { signature } = entity;
      signature.verifySignature = () =>
        verify(null, Buffer.from(signed.payload, "base64"), key, signature.signature);
    }
    try {
      verifierOf(trust, { tlogThreshold: isLogged ? 1 : 0, timestampThreshold: 0 }).verify(entity);
    } catch (error) {
      if (!(error instanceof VerificationError)) {
        throw error;
      }
      problems.add(
        error.code === "SIGNATURE_ERROR" ? "no signature is by a key of the policy" : meaning(error),
      );
      continue;
    }
    const problem = keyProblem(entity, key.export({ type: "spki", format: "der" }));
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

/** The verifier compares a log's records with hash and signature, but not with the certificate or key. */
function keyProblem({ tlogEntries }: SignedEntity, der: Buffer): string | undefined {
  return tlogEntries.every(({ canonicalizedBody }) => keyIn(canonicalizedBody).equals(der))
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
  if (code === "TIMESTAMP_ERROR") {
    return `a signature has no valid receipt of the transparency log or time stamp: ${why}`;
  }
  if (code.startsWith("TLOG")) {
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
