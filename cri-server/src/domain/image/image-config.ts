import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { ImageConfig } from "../../model/image.ts";
import { isObject, parseObject } from "./manifest.ts";
import { isDigest } from "./reference.ts";

export interface ParsedConfig {
  readonly config: ImageConfig;
  readonly diffIds: readonly Digest[];
  readonly os: string;
  readonly architecture: string;
}

/** Reads an image's configuration (OCI image-spec config.md). Fields of a wrong type are an error, missing ones are empty. */
export function parseImageConfig(bytes: Buffer, digest: Digest): ParsedConfig {
  const what = `image configuration ${digest}`;
  const document = parseObject(bytes, what);
  const rootfs = document.rootfs;
  const listed = isObject(rootfs) ? rootfs.diff_ids : undefined;
  if (listed !== undefined && listed !== null && !Array.isArray(listed)) {
    throw new BerthError("pull-failed", `${what}: rootfs.diff_ids is not a list`);
  }
  const diffIds = (listed ?? []).map((id: unknown, n: number) => {
    if (typeof id !== "string" || !isDigest(id)) {
      throw new BerthError("pull-failed", `${what}: rootfs.diff_ids[${n}] is ${JSON.stringify(id)}`);
    }
    return id;
  });
  const inner = isObject(document.config) ? document.config : {};
  const reader = new FieldReader(inner, what);
  return {
    diffIds,
    os: typeof document.os === "string" ? document.os : "",
    architecture: typeof document.architecture === "string" ? document.architecture : "",
    config: {
      user: reader.string("User"),
      env: reader.strings("Env"),
      entrypoint: reader.strings("Entrypoint"),
      cmd: reader.strings("Cmd"),
      workingDir: reader.string("WorkingDir"),
      volumes: reader.keys("Volumes"),
      stopSignal: reader.string("StopSignal"),
      labels: reader.map("Labels"),
    },
  };
}

class FieldReader {
  readonly #object: Record<string, unknown>;
  readonly #what: string;
  constructor(object: Record<string, unknown>, what: string) {
    this.#object = object;
    this.#what = what;
  }

  string(key: string): string {
    const value = this.#object[key] ?? "";
    return typeof value === "string" ? value : this.#fail(key);
  }

  strings(key: string): readonly string[] {
    const value = this.#object[key] ?? [];
    return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : this.#fail(key);
  }

  keys(key: string): readonly string[] {
    const value = this.#object[key] ?? {};
    return isObject(value) ? Object.keys(value) : this.#fail(key);
  }

  map(key: string): Readonly<Record<string, string>> {
    const value = this.#object[key] ?? {};
    if (!isObject(value)) {
      return this.#fail(key);
    }
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        name,
        typeof item === "string" ? item : this.#fail(`${key}.${name}`),
      ]),
    );
  }

  #fail(key: string): never {
    throw new BerthError("pull-failed", `${this.#what}: config.${key} has the wrong type`);
  }
}
