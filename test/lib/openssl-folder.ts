import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Where openssl keeps keys and certificates for a test. */
export class OpensslFolder implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "berth-openssl-"));

  /** A private key, as NAME.key. */
  makeKey(name: string): void {
    this.run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
  }

  run(...words: readonly string[]): void {
    execFileSync("openssl", words, { cwd: this.#dir, stdio: ["ignore", "ignore", "pipe"] });
  }

  write(name: string, content: string | Buffer): void {
    writeFileSync(join(this.#dir, name), content);
  }

  read(name: string): Buffer {
    return readFileSync(join(this.#dir, name));
  }

  text(name: string): string {
    return this.read(name).toString();
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
