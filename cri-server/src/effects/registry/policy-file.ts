import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { parse } from "smol-toml";
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
        const names = strings(table.keys, `${where}: keys`);
        const directory = dirname(this.#path);
        const files = names.map((name) => (isAbsolute(name) ? name : join(directory, name)));
        return { kind: "signature", keys: await Promise.all(files.map(readKey)) };
      }
      default:
        throw new Error(
          `${where}: require is ${JSON.stringify(table.require)}, not "signature", "nothing" or "reject"`,
        );
    }
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

function strings(value: unknown, where: string): readonly string[] {
  if (!Array.isArray(value) || value.length === 0 || !value.every((item) => typeof item === "string")) {
    throw new Error(`${where} is not a list of names`);
  }
  return value;
}
