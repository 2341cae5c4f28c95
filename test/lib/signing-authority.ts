import { execFileSync } from "node:child_process";
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What a leaf certificate says. */
export interface Identity {
  /** As openssl writes names: URI:..., email:... */
  readonly name: string;
  readonly issuer: string;
  readonly usage?: string;
}

export interface Leaf {
  readonly certificate: string;
  readonly key: KeyObject;
}

/** A certificate authority and a transparency log of the tests' own, in the manner of sigstore's. */
export class SigningAuthority implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "berth-ca-"));
  readonly #log = generateKeyPairSync("ec", { namedCurve: "P-256" });
  readonly root: string;

  constructor() {
    this.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "root.key");
    const subject = ["-subj", "/CN=root", "-addext", "basicConstraints=critical,CA:TRUE"];
    this.#openssl("req", "-x509", "-new", "-key", "root.key", "-days", "10", ...subject, "-out", "root.pem");
    this.root = this.#read("root.pem");
  }

  get logKey(): string {
    return this.#log.publicKey.export({ type: "spki", format: "pem" }).toString();
  }

  issue({ name, issuer, usage = "codeSigning" }: Identity): Leaf {
    const extensions = [
      `extendedKeyUsage=${usage}`,
      "subjectAltName=@names",
      `1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:${issuer}`,
      "[names]",
      name.replace(":", ".1="),
    ];
    writeFileSync(join(this.#dir, "leaf.ext"), extensions.join("\n"));
    this.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "leaf.key");
    this.#openssl("req", "-new", "-key", "leaf.key", "-subj", "/", "-out", "leaf.csr");
    const by = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"];
    this.#openssl(
      "x509",
      "-req",
      "-in",
      "leaf.csr",
      ...by,
      "-days",
      "1",
      "-extfile",
      "leaf.ext",
      "-out",
      "leaf.pem",
    );
    return { certificate: this.#read("leaf.pem"), key: createPrivateKey(this.#read("leaf.key")) };
  }

  /** The log's receipt of a signature. */
  receipt(
    payload: Buffer,
    signature: string,
    certificate: string,
    seconds = Math.floor(Date.now() / 1000),
  ): string {
    const record = {
      apiVersion: "0.0.1",
      kind: "hashedrekord",
      spec: {
        data: { hash: { algorithm: "sha256", value: createHash("sha256").update(payload).digest("hex") } },
        signature: {
          content: signature,
          publicKey: { content: Buffer.from(certificate).toString("base64") },
        },
      },
    };
    const body = Buffer.from(JSON.stringify(record)).toString("base64");
    const entry = { body, integratedTime: seconds, logID: "c0d23d6ad406973f", logIndex: 7 };
    const promise = sign("sha256", Buffer.from(JSON.stringify(entry)), this.#log.privateKey).toString(
      "base64",
    );
    return JSON.stringify({ SignedEntryTimestamp: promise, Payload: entry });
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
