import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { dsse, pem as text } from "@sigstore/core";
import { CertificateLog } from "./certificate-log.ts";
import { proofOfOnly } from "./log-proof.ts";
import { OpensslFolder } from "./openssl-folder.ts";

/** What a leaf certificate says. */
export interface Identity {
  /** As openssl writes names: URI:..., email:...; several with a semicolon between; DER:... for all of the extension. */
  readonly name: string;
  readonly issuer: string;
  readonly usage?: string;
  /** One of this authority's; left out: the root. */
  readonly by?: Authority;
  /** In the log of certificates, with its receipt. */
  readonly logged?: boolean;
  /** May issue others. */
  readonly isAuthority?: boolean;
}

export interface Leaf {
  readonly certificate: string;
  readonly key: KeyObject;
}

/** A certificate that others are issued by, a file of the authority's folder. */
export interface Authority {
  readonly file: string;
  readonly certificate: string;
}

export interface Receipt {
  readonly seconds?: number;
  readonly kind?: string;
  /** PEM: what the log says that the signature is by. */
  readonly by: string;
}

export interface BundleOptions {
  readonly certificate?: string;
  readonly seconds?: number;
  /** Of the document. */
  readonly type?: string;
  readonly unlogged?: boolean;
  /** PEM: what the log says that the signature is by, if it lies. */
  readonly by?: string;
}

/** A workflow that signs, and who vouches for it. */
export const workflow = "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1";
export const provider = "https://token.actions.githubusercontent.com";
export const workflowIdentity: Identity = { name: `URI:${workflow}`, issuer: provider };

const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();

/** A certificate authority and a transparency log of the tests' own, in the manner of sigstore's. */
export class SigningAuthority implements Disposable {
  readonly #files = new OpensslFolder();
  readonly #log = generateKeyPairSync("ec", { namedCurve: "P-256" });
  readonly certificateLog = new CertificateLog();
  readonly root: string;
  #made = 0;

  /** Two of one name differ in their keys alone. */
  constructor(constraints = "CA:TRUE") {
    this.#files.makeKey("root");
    const subject = ["-subj", "/CN=root", "-addext", `basicConstraints=critical,${constraints}`];
    this.#files.run(
      "req",
      "-x509",
      "-new",
      "-key",
      "root.key",
      "-days",
      "10",
      ...subject,
      "-out",
      "root.pem",
    );
    this.root = this.#files.text("root.pem");
  }

  get logKey(): string {
    return pem(this.#log.publicKey);
  }

  /** An authority below the root. */
  intermediate(usage = "keyCertSign,cRLSign"): Authority {
    const extensions = ["basicConstraints=critical,CA:TRUE", `keyUsage=critical,${usage}`];
    return this.#certificate("/CN=intermediate", extensions, "root");
  }

  issue({ name, issuer, usage = "codeSigning", by, logged = false, isAuthority = false }: Identity): Leaf {
    const names = name.split(";").map((one, n) => one.replace(":", `.${n}=`));
    const isEncoded = name.startsWith("DER:");
    const extensions = [
      `basicConstraints=CA:${isAuthority ? "TRUE" : "FALSE"}`,
      `extendedKeyUsage=${usage}`,
      `subjectAltName=${isEncoded ? name : "@names"}`,
      `1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:${issuer}`,
      ...(isEncoded ? [] : ["[names]", ...names]),
    ];
    const { file, certificate } = this.#certificate("/", extensions, by?.file ?? "root");
    const key = createPrivateKey(this.#files.text(`${file}.key`));
    if (!logged) {
      return { certificate, key };
    }
    const above = by ?? { file: "root", certificate: this.root };
    const aboveKey = createPrivateKey(this.#files.text(`${above.file}.key`));
    return { certificate: this.certificateLog.enter(certificate, above.certificate, aboveKey), key };
  }

  /** What a leaf, which must be none, has issued. */
  issuedByLeaf({ certificate, key }: Leaf, identity: Identity): Leaf {
    this.#made++;
    const file = `leaf${this.#made}`;
    this.#files.write(`${file}.pem`, certificate);
    this.#files.write(`${file}.key`, key.export({ type: "pkcs8", format: "pem" }));
    return this.issue({ ...identity, by: { file, certificate } });
  }

  /** The log's receipt of a signature. */
  receipt(payload: Buffer, signature: string, { seconds, kind = "hashedrekord", by }: Receipt): string {
    const record = {
      apiVersion: "0.0.1",
      kind,
      spec: {
        data: { hash: { algorithm: "sha256", value: createHash("sha256").update(payload).digest("hex") } },
        signature: { content: signature, publicKey: { content: Buffer.from(by).toString("base64") } },
      },
    };
    const { entry, promise } = this.#promise(record, seconds);
    return JSON.stringify({ SignedEntryTimestamp: promise, Payload: entry });
  }

  /** A signed document in one piece, as cosign 3 makes them; `certificate` is left out of one that a key has made. */
  bundle(document: Buffer, key: KeyObject, options: BundleOptions): string {
    const { certificate, seconds, type = "application/vnd.in-toto+json" } = options;
    const isEdwards = key.asymmetricKeyType === "ed25519";
    const sig = sign(isEdwards ? null : "sha256", dsse.preAuthEncoding(type, document), key).toString(
      "base64",
    );
    const by = certificate ?? pem(createPublicKey(key));
    const record = {
      apiVersion: "0.0.1",
      kind: "dsse",
      spec: {
        payloadHash: { algorithm: "sha256", value: createHash("sha256").update(document).digest("hex") },
        signatures: [{ signature: sig, verifier: Buffer.from(options.by ?? by).toString("base64") }],
      },
    };
    const { entry, promise } = this.#promise(record, seconds);
    const material =
      certificate === undefined
        ? { publicKey: { hint: "a" } }
        : { certificate: { rawBytes: text.toDER(certificate).toString("base64") } };
    const tlogEntries = [
      {
        logIndex: String(entry.logIndex),
        logId: { keyId: Buffer.from(entry.logID, "hex").toString("base64") },
        kindVersion: { kind: record.kind, version: record.apiVersion },
        integratedTime: String(entry.integratedTime),
        inclusionPromise: { signedEntryTimestamp: promise },
        inclusionProof: proofOfOnly(Buffer.from(entry.body, "base64"), {
          name: "log.test",
          id: Buffer.from(entry.logID, "hex"),
          sign: (note) => sign("sha256", note, this.#log.privateKey),
        }),
        canonicalizedBody: entry.body,
      },
    ];
    return JSON.stringify({
      mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
      verificationMaterial: { ...material, tlogEntries: options.unlogged ? [] : tlogEntries },
      dsseEnvelope: { payload: document.toString("base64"), payloadType: type, signatures: [{ sig }] },
    });
  }

  #promise(record: object, seconds = Math.floor(Date.now() / 1000)) {
    const body = Buffer.from(JSON.stringify(record)).toString("base64");
    const entry = { body, integratedTime: seconds, logID: this.#logId(), logIndex: 7 };
    const promise = sign("sha256", Buffer.from(JSON.stringify(entry)), this.#log.privateKey);
    return { entry, promise: promise.toString("base64") };
  }

  #logId(): string {
    const key = this.#log.publicKey.export({ type: "spki", format: "der" });
    return createHash("sha256").update(key).digest("hex");
  }

  #certificate(subject: string, extensions: readonly string[], by: string): Authority {
    this.#made++;
    const file = `made${this.#made}`;
    this.#files.write(`${file}.ext`, extensions.join("\n"));
    this.#files.makeKey(file);
    this.#files.run("req", "-new", "-key", `${file}.key`, "-subj", subject, "-out", `${file}.csr`);
    const input = ["-req", "-in", `${file}.csr`, "-days", "1", "-extfile", `${file}.ext`];
    const authority = ["-CA", `${by}.pem`, "-CAkey", `${by}.key`, "-CAcreateserial"];
    this.#files.run("x509", ...input, ...authority, "-out", `${file}.pem`);
    return { file, certificate: this.#files.text(`${file}.pem`) };
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}
