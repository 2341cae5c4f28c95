import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { dsse, pem } from "@sigstore/core";
import { proofOfOnly } from "./log-proof.ts";

export interface SecondBundle {
  /** PEM; left out: it is signed by the key. */
  readonly certificate?: string;
  /** Base64 of a time stamp of these bytes, the signature. */
  readonly stamp?: (signature: Buffer) => string;
  /** DER: what the log says that the signature is by, if it lies. */
  readonly by?: Buffer;
  /** What its head says that the log is called. */
  readonly name?: string;
}

const type = "application/vnd.in-toto+json";
const origin = "second-log.test";

/** A transparency log in the manner of Rekor 2: it has no time and promises nothing, but proves at once; its key is Ed25519. */
export class SecondLog {
  readonly #keys = generateKeyPairSync("ed25519");

  get key(): string {
    return this.#keys.publicKey.export({ type: "spki", format: "pem" }).toString();
  }

  /** A signed document in one piece. */
  bundle(document: Buffer, key: KeyObject, { certificate, stamp, by, name = origin }: SecondBundle): string {
    const isEdwards = key.asymmetricKeyType === "ed25519";
    const signature = sign(isEdwards ? null : "sha256", dsse.preAuthEncoding(type, document), key);
    const sig = signature.toString("base64");
    const spki = createPublicKey(key).export({ type: "spki", format: "der" });
    const own = certificate === undefined ? spki : pem.toDER(certificate);
    const rawBytes = (by ?? own).toString("base64");
    const verifier =
      certificate === undefined ? { publicKey: { rawBytes } } : { x509Certificate: { rawBytes } };
    const record = {
      apiVersion: "0.0.2",
      kind: "dsse",
      spec: {
        dsseV002: {
          payloadHash: {
            algorithm: "SHA2_256",
            digest: createHash("sha256").update(document).digest("base64"),
          },
          signatures: [{ content: sig, verifier: { keyDetails: "PKIX_ECDSA_P256_SHA_256", ...verifier } }],
        },
      },
    };
    const body = Buffer.from(JSON.stringify(record));
    const entry = {
      logIndex: "0",
      logId: { keyId: this.#id().toString("base64") },
      kindVersion: { kind: record.kind, version: record.apiVersion },
      integratedTime: "0",
      inclusionProof: proofOfOnly(body, {
        name,
        id: this.#id(),
        sign: (note) => sign(null, note, this.#keys.privateKey),
      }),
      canonicalizedBody: body.toString("base64"),
    };
    const signer =
      certificate === undefined
        ? { publicKey: { hint: "a" } }
        : { certificate: { rawBytes: pem.toDER(certificate).toString("base64") } };
    const stamps = stamp === undefined ? [] : [{ signedTimestamp: stamp(signature) }];
    return JSON.stringify({
      mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
      verificationMaterial: {
        ...signer,
        tlogEntries: [entry],
        timestampVerificationData: { rfc3161Timestamps: stamps },
      },
      dsseEnvelope: { payload: document.toString("base64"), payloadType: type, signatures: [{ sig }] },
    });
  }

  /** c2sp.org/signed-note: of its name and its key. */
  #id(): Buffer {
    const raw = this.#keys.publicKey.export({ type: "spki", format: "der" }).subarray(-32);
    return createHash("sha256").update(`${origin}\n\x01`).update(raw).digest();
  }
}
