import { readFile } from "node:fs/promises";
import { BerthError } from "../../errors/berth-error.ts";
import type { ImageReference } from "../../model/image.ts";
import type { PullAuth } from "../../ports/images.ts";

/** Asks a credential helper (`docker-credential-NAME get`) for a server's credentials; undefined when it has none. */
export type AskHelper = (name: string, server: string) => Promise<PullAuth | undefined>;

type Table = Readonly<Record<string, unknown>>;

const none: PullAuth = {
  username: "",
  password: "",
  identityToken: "",
  registryToken: "",
  serverAddress: "",
};

/** Names under which Docker's own registry is found in such files. */
const hubKeys = ["https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"];

/**
 * The runtime's own credentials: a file as `docker login` and `podman login` write it (containers-auth.json(5)), read at
 * each pull. A key may be a registry or, more closely, a repository or a part of its path; the longest wins.
 */
export async function ownCredentials(
  path: string,
  reference: ImageReference,
  ask: AskHelper,
): Promise<PullAuth | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return undefined;
    }
    throw new BerthError("pull-failed", `${path} can't be read`, { cause: error });
  }
  const file = parseFile(text, path);
  const helpers = table(file.credHelpers);
  const auths = new Map(Object.entries(table(file.auths)).map(([key, value]) => [normalize(key), value]));
  for (const key of keysOf(reference)) {
    const helper = helpers[key];
    if (typeof helper === "string") {
      return await ask(helper, key);
    }
    const entry = auths.get(normalize(key));
    // An entry without content says that the store below has it.
    if (entry !== undefined && Object.keys(table(entry)).length > 0) {
      return fromEntry(table(entry), key, path);
    }
  }
  const store = file.credsStore;
  const server = reference.registry === "docker.io" ? (hubKeys[0] ?? "") : reference.registry;
  return typeof store === "string" && store !== "" ? await ask(store, server) : undefined;
}

/** Most particular first. */
function keysOf({ registry, repository }: ImageReference): readonly string[] {
  const keys: string[] = [];
  const parts = repository.split("/");
  for (let n = parts.length; n > 0; n--) {
    keys.push(`${registry}/${parts.slice(0, n).join("/")}`);
  }
  return [...keys, registry, ...(registry === "docker.io" ? hubKeys : [])];
}

/** Docker writes some keys as URLs. */
function normalize(key: string): string {
  return key.replace(/^https?:\/\//, "").replace(/\/(?:v[12]\/?)?$/, "");
}

function parseFile(text: string, path: string): Table {
  try {
    return table(JSON.parse(text));
  } catch (cause) {
    throw new BerthError("pull-failed", `${path} is not JSON`, { cause });
  }
}

function fromEntry(entry: Table, key: string, path: string): PullAuth {
  const field = (name: string): string => {
    const value = entry[name];
    return typeof value === "string" ? value : "";
  };
  const packed = field("auth");
  const text = Buffer.from(packed, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (packed !== "" && colon < 0) {
    throw new BerthError(
      "pull-failed",
      `${path}: the entry of ${key} has an auth that is not user:password in base64`,
    );
  }
  return {
    ...none,
    username: packed === "" ? field("username") : text.slice(0, colon),
    password: packed === "" ? field("password") : text.slice(colon + 1).replace(/\0+$/, ""),
    identityToken: field("identitytoken"),
    registryToken: field("registrytoken"),
  };
}

/** What a helper prints; the user `<token>` means that the secret is an identity token. */
export function parseHelperAnswer(text: string): PullAuth | undefined {
  const { Username: username, Secret: secret } = JSON.parse(text) as { Username?: unknown; Secret?: unknown };
  if (typeof username !== "string" || typeof secret !== "string" || secret === "") {
    return undefined;
  }
  return username === "<token>"
    ? { ...none, identityToken: secret }
    : { ...none, username, password: secret };
}

function table(value: unknown): Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Table) : {};
}
