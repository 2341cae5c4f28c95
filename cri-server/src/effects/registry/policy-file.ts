import { createPublicKey, type X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { parse } from "smol-toml";
import { certificatesOf, isRoot } from "../../domain/image/certificates.ts";
import { BerthError } from "../../errors/berth-error.ts";
import type { ImagePolicy, PolicyRequirement, PolicyRule } from "../../ports/image-policy.ts";

type Table = Readonly<Record<string, unknown>>;

/**
 * A policy in TOML, read at each pull:
 *
 *     [[rule]]
 *     images = ["registry.example.com/team/*"]
 *     namespaces = ["prod"]              # left out: every pod's
 *     require = "signature"              # or "nothing", "reject"
 *     keys = ["/etc/berth/keys/team.pub"]
 *
 * or, with `require = "certificate"`: roots, log_keys, identity and issuer. `log_keys` may be given for "signature" too, and
 * `ct_log_keys` and `timestamp_authorities` for "certificate".
 */
export class PolicyFile implements ImagePolicy {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async rules(): Promise<readonly PolicyRule[]> {
    let text: string;
    try {
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") {
        return [];
      }
      throw this.#broken(error);
    }
    try {
      const rules = parse(text).rule ?? [];
      if (!Array.isArray(rules)) {
        throw new Error("rule is not a list of tables");
      }
      return await Promise.all(
        rules.map(async (rule: unknown, n) => await this.#rule(rule as Table, `rule ${n + 1}`)),
      );
    } catch (error) {
      throw this.#broken(error);
    }
  }

  async #rule(table: Table, where: string): Promise<PolicyRule> {
    return {
      images: strings(table.images, `${where}: images`),
      namespaces: table.namespaces === undefined ? [] : strings(table.namespaces, `${where}: namespaces`),
      require: await this.#requirement(table, where),
    };
  }

  async #requirement(table: Table, where: string): Promise<PolicyRequirement> {
    switch (table.require) {
      case "nothing":
      case "reject":
        return { kind: table.require };
      case "signature": {
        const keys = await this.#keys(table.keys, `${where}: keys`);
        const logKeys = await this.#keysIfAny(table.log_keys, `${where}: log_keys`);
        return { kind: "signature", keys, logKeys };
      }
      case "certificate":
        return await this.#certificate(table, where);
      default:
        throw new Error(
          `${where}: require is ${JSON.stringify(table.require)}, not "signature", "certificate", "nothing" or "reject"`,
        );
    }
  }

  async #certificate(table: Table, where: string): Promise<PolicyRequirement> {
    const { identity, issuer } = table;
    if (typeof identity !== "string" || identity === "" || typeof issuer !== "string" || issuer === "") {
      throw new Error(`${where}: identity and issuer have to be given`);
    }
    const files = this.#files(table.roots, `${where}: roots`);
    const roots = await Promise.all(files.map(readCertificates));
    if (!roots.some(({ certificates }) => certificates.some(isRoot))) {
      throw new Error(`${where}: roots: ${files.join(", ")} has no self-signed certificate of an authority`);
    }
    const logKeys = await this.#keys(table.log_keys, `${where}: log_keys`);
    const ctLogKeys = await this.#keysIfAny(table.ct_log_keys, `${where}: ct_log_keys`);
    const timestampAuthorities = await this.#authorities(table.timestamp_authorities, where);
    return {
      kind: "certificate",
      roots: roots.map(({ text }) => text).join("\n"),
      logKeys,
      ctLogKeys,
      timestampAuthorities,
      identity,
      issuer,
    };
  }

  async #keys(value: unknown, where: string): Promise<readonly string[]> {
    return await Promise.all(this.#files(value, where).map(readKey));
  }

  async #keysIfAny(value: unknown, where: string): Promise<readonly string[]> {
    return value === undefined ? [] : await this.#keys(value, where);
  }

  async #authorities(value: unknown, where: string): Promise<readonly string[]> {
    if (value === undefined) {
      return [];
    }
    const files = this.#files(value, `${where}: timestamp_authorities`);
    const read = await Promise.all(files.map(readCertificates));
    for (const [n, { certificates }] of read.entries()) {
      const [signer, ...above] = certificates;
      if (signer === undefined || signer.ca || !above.some(isRoot)) {
        throw new Error(
          `${where}: timestamp_authorities: ${files[n]} is not the certificate of a signer and then those above it up to a self-signed one`,
        );
      }
    }
    return read.map(({ text }) => text);
  }

  #files(value: unknown, where: string): readonly string[] {
    return strings(value, where).map((name) => (isAbsolute(name) ? name : join(dirname(this.#path), name)));
  }

  #broken(cause: unknown): BerthError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return new BerthError(
      "signature-invalid",
      `SignatureValidationFailed: the policy ${this.#path} can't be used: ${why}`,
      {
        cause,
      },
    );
  }
}

/** A public key in PEM; anything else is found here rather than at the first signature. */
async function readKey(path: string): Promise<string> {
  const text = await readFile(path, "utf8");
  try {
    createPublicKey(text);
  } catch (cause) {
    throw new Error(`${path} is not a public key in PEM`, { cause });
  }
  return text;
}

/** One or more, and the PEM that they are in; the same. */
async function readCertificates(
  path: string,
): Promise<{ readonly text: string; readonly certificates: readonly X509Certificate[] }> {
  const text = await readFile(path, "utf8");
  let certificates: readonly X509Certificate[];
  try {
    certificates = certificatesOf(text);
  } catch (cause) {
    throw new Error(`${path} has a certificate that can't be read`, { cause });
  }
  if (certificates.length === 0) {
    throw new Error(`${path} has no certificate in PEM`);
  }
  return { text, certificates };
}

function strings(value: unknown, where: string): readonly string[] {
  if (!Array.isArray(value) || value.length === 0 || !value.every((item) => typeof item === "string")) {
    throw new Error(`${where} is not a list of names`);
  }
  return value;
}
