import { execFileSync } from "node:child_process";
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CertificateLog } from "./certificate-log.ts";

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

const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();

/** A certificate authority and a transparency log of the tests' own, in the manner of sigstore's. */
export class SigningAuthority implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "berth-ca-"));
  readonly #log = generateKeyPairSync("ec", { namedCurve: "P-256" });
  readonly certificateLog = new CertificateLog();
  readonly root: string;
  #made = 0;

  /** Two of one name differ in their keys alone. */
  constructor(constraints = "CA:TRUE") {
    this.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "root.key");
    const subject = ["-subj", "/CN=root", "-addext", `basicConstraints=critical,${constraints}`];
    this.#openssl("req", "-x509", "-new", "-key", "root.key", "-days", "10", ...subject, "-out", "root.pem");
    this.root = this.#read("root.pem");
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
    const key = createPrivateKey(this.#read(`${file}.key`));
    if (!logged) {
      return { certificate, key };
    }
    const above = by ?? { file: "root", certificate: this.root };
    const aboveKey = createPrivateKey(this.#read(`${above.file}.key`));
    return { certificate: this.certificateLog.enter(certificate, above.certificate, aboveKey), key };
  }

  /** What a leaf, which must be none, has issued. */
  issuedByLeaf({ certificate, key }: Leaf, identity: Identity): Leaf {
    this.#made++;
    const file = `leaf${this.#made}`;
    writeFileSync(join(this.#dir, `${file}.pem`), certificate);
    writeFileSync(join(this.#dir, `${file}.key`), key.export({ type: "pkcs8", format: "pem" }));
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
    const body = Buffer.from(JSON.stringify(record)).toString("base64");
    const logID = createHash("sha256")
      .update(this.#log.publicKey.export({ type: "spki", format: "der" }))
      .digest("hex");
    const integratedTime = seconds ?? Math.floor(Date.now() / 1000);
    const entry = { body, integratedTime, logID, logIndex: 7 };
    const promise = sign("sha256", Buffer.from(JSON.stringify(entry)), this.#log.privateKey);
    return JSON.stringify({ SignedEntryTimestamp: promise.toString("base64"), Payload: entry });
  }

  #certificate(subject: string, extensions: readonly string[], by: string): Authority {
    this.#made++;
    const file = `made${this.#made}`;
    writeFileSync(join(this.#dir, `${file}.ext`), extensions.join("\n"));
    this.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${file}.key`);
    this.#openssl("req", "-new", "-key", `${file}.key`, "-subj", subject, "-out", `${file}.csr`);
    const input = ["-req", "-in", `${file}.csr`, "-days", "1", "-extfile", `${file}.ext`];
    const authority = ["-CA", `${by}.pem`, "-CAkey", `${by}.key`, "-CAcreateserial"];
    this.#openssl("x509", ...input, ...authority, "-out", `${file}.pem`);
    return { file, certificate: this.#read(`${file}.pem`) };
  }

  #openssl(...words: readonly string[]): void {
    execFileSync("openssl", words, { cwd: this.#dir, stdio: ["ignore", "ignore", "pipe"] });
  }

  #read(name: string): string {
    return readFileSync(join(this.#dir, name), "utf8");
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
