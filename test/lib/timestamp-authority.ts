import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const configuration = `
[root]
basicConstraints = critical,CA:TRUE
[signer]
basicConstraints = CA:FALSE
extendedKeyUsage = critical,timeStamping
[tsa]
dir = .
serial = ./serial
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
`;

/** An authority that says when something was there (RFC 3161): openssl's. */
export class TimestampAuthority implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "berth-tsa-"));
  readonly root: string;
  readonly signer: string;

  constructor() {
    this.#write("conf", configuration);
    this.#write("serial", "01\n");
    for (const name of ["root", "signer"])
      this.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
    this.#openssl("req", "-new", "-key", "root.key", "-subj", "/CN=tsa root", "-out", "root.csr");
    const root = [
      "-req",
      "-in",
      "root.csr",
      "-signkey",
      "root.key",
      "-extfile",
      "conf",
      "-extensions",
      "root",
    ];
    this.#openssl("x509", ...root, "-days", "10", "-out", "root.pem");
    this.#openssl("req", "-new", "-key", "signer.key", "-subj", "/CN=tsa", "-out", "signer.csr");
    const signer = ["-req", "-in", "signer.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"];
    const extensions = ["-extfile", "conf", "-extensions", "signer"];
    this.#openssl("x509", ...signer, ...extensions, "-days", "10", "-out", "signer.pem");
    this.root = this.#read("root.pem").toString();
    this.signer = this.#read("signer.pem").toString();
  }

  /** As a policy takes it. */
  get chain(): string {
    return this.signer + this.root;
  }

  /** Base64 of a response, for these bytes and now. */
  stamp(data: Buffer): string {
    this.#write("data", data);
    this.#openssl("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query");
    const by = ["-config", "conf", "-section", "tsa", "-signer", "signer.pem", "-inkey", "signer.key"];
    this.#openssl("ts", "-reply", "-queryfile", "query", ...by, "-out", "reply");
    return this.#read("reply").toString("base64");
  }

  #write(name: string, content: string | Buffer): void {
    writeFileSync(join(this.#dir, name), content);
  }

  #read(name: string): Buffer {
    return readFileSync(join(this.#dir, name));
  }

  #openssl(...words: readonly string[]): void {
    execFileSync("openssl", words, { cwd: this.#dir, stdio: ["ignore", "ignore", "pipe"] });
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
