import { CniError, codes } from "./errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

function wrong(field: string, value: unknown, wanted: string): CniError {
  return new CniError(codes.invalidConfig, `${field} must be ${wanted}, not ${JSON.stringify(value)}`);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads fields of one JSON object; what is absent or null is undefined, what has another type is an error with its name. */
export class Fields {
  readonly #object: JsonObject;
  readonly #prefix: string;

  constructor(object: JsonObject, prefix: string) {
    this.#object = object;
    this.#prefix = prefix;
  }

  name(key: string): string {
    return this.#prefix === "" ? key : `${this.#prefix}.${key}`;
  }

  /** As Go reads JSON, the language of all other plugins: the exact key, else one that differs in case only. */
  raw(key: string): unknown {
    if (key in this.#object) return this.#object[key] ?? undefined;
    const lower = key.toLowerCase();
    const other = Object.keys(this.#object).find((name) => name.toLowerCase() === lower);
    return other === undefined ? undefined : (this.#object[other] ?? undefined);
  }

  string(key: string): string | undefined {
    const value = this.raw(key);
    if (value !== undefined && typeof value !== "string") throw wrong(this.name(key), value, "a string");
    return value;
  }

  boolean(key: string): boolean | undefined {
    const value = this.raw(key);
    if (value !== undefined && typeof value !== "boolean")
      throw wrong(this.name(key), value, "true or false");
    return value;
  }

  /** A whole number from `min` to `max`. */
  integer(key: string, min: number, max: number): number | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
      throw wrong(this.name(key), value, `a whole number from ${min} to ${max}`);
    }
    return value;
  }

  object(key: string): Fields | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (!isObject(value)) throw wrong(this.name(key), value, "an object");
    return new Fields(value, this.name(key));
  }

  list(key: string): readonly unknown[] | undefined {
    const value = this.raw(key);
    if (value !== undefined && !Array.isArray(value)) throw wrong(this.name(key), value, "a list");
    return value;
  }

  strings(key: string): readonly string[] | undefined {
    return this.list(key)?.map((entry, index) => {
      if (typeof entry !== "string") throw wrong(`${this.name(key)}[${index}]`, entry, "a string");
      return entry;
    });
  }

  objects(key: string): readonly Fields[] | undefined {
    return this.list(key)?.map((entry, index) => {
      if (!isObject(entry)) throw wrong(`${this.name(key)}[${index}]`, entry, "an object");
      return new Fields(entry, `${this.name(key)}[${index}]`);
    });
  }
}
