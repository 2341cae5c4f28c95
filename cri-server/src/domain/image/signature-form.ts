import { createHash, X509Certificate } from "node:crypto";
import { type Bundle, bundleFromJSON, type TransparencyLogEntry } from "@sigstore/bundle";
import { pem } from "@sigstore/core";
import { HashAlgorithm } from "@sigstore/protobuf-specs";
import { type SignedEntity, toSignedEntity } from "@sigstore/verify";
import type { KeptSignature } from "../../ports/image-store.ts";
import { isObject } from "./manifest.ts";

/** Of a signature: `payload`, base64, is what was signed, or "" where all is in `bundle`. */
export type CheckedSignature = Omit<KeptSignature, "digest">;

/** A signature in whichever form it came. */
export interface SignatureForm {
  /** What the verifier looks at; whose key it has to be is a matter of the policy. */
  readonly entity: SignedEntity;
  /** DER; undefined where it was made with a key. */
  readonly certificate: Buffer | undefined;
  /** PEM, the intermediates. */
  readonly chain: string;
}

/** What of a signature's proof the policy knows somebody for: the verifier refuses what is of strangers. */
export interface WantedProof {
  readonly logs: boolean;
  readonly timestamps: boolean;
}

/** Throws on what can't be read. Proof that is not wanted is left aside. */
export function formOf(signed: CheckedSignature, wanted: WantedProof): SignatureForm {
  if (signed.payload === "") {
    return ofBundle(bundleOf(signed), wanted);
  }
  return {
    entity: entityOf(signed, wanted.logs ? receiptOf(signed.bundle) : undefined),
    certificate: signed.certificate === "" ? undefined : new X509Certificate(signed.certificate).raw,
    chain: signed.chain,
  };
}

/** What a bundle has signed: the type of the document, and the document. */
export function envelopeOf(signed: CheckedSignature): { readonly type: string; readonly document: Buffer } {
  const { content } = bundleOf(signed);
  if (content.$case !== "dsseEnvelope") {
    throw new Error("the bundle has no envelope");
  }
  return { type: content.dsseEnvelope.payloadType, document: content.dsseEnvelope.payload };
}

function bundleOf({ bundle }: CheckedSignature): Bundle {
  return bundleFromJSON(JSON.parse(bundle));
}

function ofBundle(bundle: Bundle, wanted: WantedProof): SignatureForm {
  const { verificationMaterial, content } = bundle;
  if (content.$case !== "dsseEnvelope") {
    // A signature of plain bytes does not say of which image.
    throw new Error("the bundle has no envelope");
  }
  const entity = toSignedEntity({
    ...bundle,
    verificationMaterial: {
      ...verificationMaterial,
      ...(wanted.logs ? {} : { tlogEntries: [] }),
      ...(wanted.timestamps ? {} : { timestampVerificationData: undefined }),
    },
  });
  const [certificate, ...chain] = certificatesIn(verificationMaterial.content);
  return { entity, certificate, chain: chain.map((one) => pem.fromDER(one)).join("") };
}

function certificatesIn(content: Bundle["verificationMaterial"]["content"]): readonly Buffer[] {
  switch (content.$case) {
    case "certificate":
      return [content.certificate.rawBytes];
    case "x509CertificateChain":
      return content.x509CertificateChain.certificates.map(({ rawBytes }) => rawBytes);
    case "publicKey":
      return [];
  }
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
