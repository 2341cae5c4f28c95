import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { dsse, pem } from "@sigstore/core";

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
      inclusionProof: this.#proof(body, name),
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

  /** Of a log that has this entry alone (RFC 6962, 2.1). */
  #proof(body: Buffer, name: string): object {
    const root = createHash("sha256")
      .update(Buffer.from([0]))
      .update(body)
      .digest("base64");
    const note = `${name}\n1\n${root}\n`;
    const signed = Buffer.concat([
      this.#id().subarray(0, 4),
      sign(null, Buffer.from(note), this.#keys.privateKey),
    ]);
    const envelope = `${note}\n\u2014 ${name} ${signed.toString("base64")}\n`;
    return { logIndex: "0", rootHash: root, treeSize: "1", hashes: [], checkpoint: { envelope } };
  }
}
