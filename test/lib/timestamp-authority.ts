import { OpensslFolder } from "./openssl-folder.ts";

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
  readonly #files = new OpensslFolder();
  readonly root: string;
  readonly signer: string;

  constructor() {
    this.#files.write("conf", configuration);
    this.#files.write("serial", "01\n");
    for (const name of ["root", "signer"]) this.#files.makeKey(name);
    this.#files.run("req", "-new", "-key", "root.key", "-subj", "/CN=tsa root", "-out", "root.csr");
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
    this.#files.run("x509", ...root, "-days", "10", "-out", "root.pem");
    this.#files.run("req", "-new", "-key", "signer.key", "-subj", "/CN=tsa", "-out", "signer.csr");
    const signer = ["-req", "-in", "signer.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"];
    const extensions = ["-extfile", "conf", "-extensions", "signer"];
    this.#files.run("x509", ...signer, ...extensions, "-days", "10", "-out", "signer.pem");
    this.root = this.#files.text("root.pem");
    this.signer = this.#files.text("signer.pem");
  }

  /** As a policy takes it. */
  get chain(): string {
    return this.signer + this.root;
  }

  /** Base64 of a response, for these bytes and now. */
  stamp(data: Buffer): string {
    this.#files.write("data", data);
    this.#files.run("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query");
    const by = ["-config", "conf", "-section", "tsa", "-signer", "signer.pem", "-inkey", "signer.key"];
    this.#files.run("ts", "-reply", "-queryfile", "query", ...by, "-out", "reply");
    return this.#files.read("reply").toString("base64");
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}
