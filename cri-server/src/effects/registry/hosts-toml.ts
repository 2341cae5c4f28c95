import { parse } from "smol-toml";

export type Capability = "pull" | "resolve" | "push";

/** One place where a registry's content can be had. */
export interface RegistryHost {
  /** With scheme; what goes before `/<repository>/manifests/...`, so usually it ends in /v2. No slash at its end. */
  readonly baseUrl: string;
  readonly capabilities: readonly Capability[];
  /** File names; relative ones are below the directory of hosts.toml. */
  readonly ca: readonly string[];
  readonly clients: readonly { readonly cert: string; readonly key: string }[];
  readonly skipVerify: boolean;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

const all: readonly Capability[] = ["pull", "resolve", "push"];

/** Where a registry is when nothing is configured for it. */
export function defaultServer(registry: string): string {
  if (registry === "docker.io") {
    return "https://registry-1.docker.io";
  }
  // Nobody gets a certificate for these; every client speaks plain HTTP with them.
  const name = registry.replace(/:\d+$/, "");
  const local = name === "localhost" || name === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(name);
  return `${local ? "http" : "https"}://${registry}`;
}

/**
 * Reads a hosts.toml (containerd's docs/hosts.md): the `host` tables in the order in which they stand, then the server.
 * Throws with a message that names the field.
 */
export function parseHosts(text: string, registry: string): readonly RegistryHost[] {
  const document = parse(text);
  const hosts: RegistryHost[] = [];
  for (const [url, table] of Object.entries(asTable(document.host ?? {}, "host"))) {
    hosts.push(toHost(url, asTable(table, `host.${JSON.stringify(url)}`), `host.${JSON.stringify(url)}`));
  }
  const server = document.server ?? defaultServer(registry);
  if (typeof server !== "string") {
    throw new Error("server is not a string");
  }
  const last = toHost(server, document, "server");
  if (!hosts.some((host) => host.baseUrl === last.baseUrl)) {
    hosts.push(last);
  }
  return hosts;
}

/** The one host of a registry without a hosts.toml. */
export function hostsWithout(registry: string): readonly RegistryHost[] {
  return [toHost(defaultServer(registry), {}, "server")];
}

type Table = Readonly<Record<string, unknown>>;

function toHost(given: string, table: Table, where: string): RegistryHost {
  const text = /^https?:\/\//.test(given) ? given : `https://${given}`;
  const url = URL.parse(text);
  if (url === null) {
    throw new Error(`${where}: ${JSON.stringify(given)} is not a URL`);
  }
  let path = url.pathname.replace(/\/+$/, "");
  // The API's version is a part of the path unless the administrator says that the path is all.
  if (table.override_path !== true && !/\/v2$/.test(path)) {
    path = `${path}/v2`;
  }
  return {
    baseUrl: `${url.protocol}//${url.host}${path}`,
    capabilities: capabilities(table.capabilities, where),
    ca: strings(table.ca, `${where}.ca`),
    clients: clients(table.client, `${where}.client`),
    skipVerify: table.skip_verify === true,
    headers: headers(table.header, `${where}.header`),
  };
}

function capabilities(value: unknown, where: string): readonly Capability[] {
  const named = strings(value, `${where}.capabilities`);
  const unknown = named.find((name) => !all.some((known) => known === name));
  if (unknown !== undefined) {
    throw new Error(`${where}.capabilities: ${JSON.stringify(unknown)} is not one of ${all.join(", ")}`);
  }
  return named.length === 0 ? all : all.filter((known) => named.includes(known));
}

/** A name of one file with both, a list of such, or a list of pairs. */
function clients(value: unknown, where: string): readonly { cert: string; key: string }[] {
  if (value === undefined) {
    return [];
  }
  return (Array.isArray(value) ? value : [value]).map((item: unknown, n) => {
    const [cert, key = cert] = Array.isArray(item) ? item : [item];
    if (typeof cert !== "string" || typeof key !== "string") {
      throw new Error(`${where}[${n}] is neither a file nor a pair of files`);
    }
    return { cert, key: key === "" ? cert : key };
  });
}

function headers(value: unknown, where: string): Readonly<Record<string, string | readonly string[]>> {
  return Object.fromEntries(
    Object.entries(asTable(value ?? {}, where)).map(([name, item]) => [
      name,
      typeof item === "string" ? item : strings(item, `${where}.${name}`),
    ]),
  );
}

function strings(value: unknown, where: string): readonly string[] {
  if (value === undefined) {
    return [];
  }
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.map((item) => {
    if (typeof item !== "string") {
      throw new Error(`${where} is not a string or a list of strings`);
    }
    return item;
  });
}

function asTable(value: unknown, where: string): Table {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error(`${where} is not a table`);
  }
  return value as Table;
}
