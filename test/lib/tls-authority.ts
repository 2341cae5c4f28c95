import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";

/** The files of one certificate and its key. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority of the tests' own, with certificates for loopback. */
export class TlsAuthority implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "berth-tls-"));
  readonly ca = join(this.#dir, "ca.pem");

  static async make(): Promise<TlsAuthority> {
    const authority = new TlsAuthority();
    const key = join(authority.#dir, "ca.key");
    const extensions = ["-addext", "basicConstraints=critical,CA:TRUE"];
    await run("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
      ...["-subj", "/CN=berth tests", ...extensions, "-keyout", key, "-out", authority.ca],
    ]);
    return authority;
  }

  async issue(name: string): Promise<KeyPair> {
    const path = (end: string): string => join(this.#dir, `${name}.${end}`);
    await run("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"],
      ...["-CA", this.ca, "-CAkey", join(this.#dir, "ca.key"), "-subj", `/CN=${name}`],
      ...[
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
      ],
      ...["-keyout", path("key"), "-out", path("pem")],
    ]);
    return { cert: path("pem"), key: path("key") };
  }

  read(path: string): Buffer {
    return readFileSync(path);
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true });
  }
}
