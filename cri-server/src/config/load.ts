import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { parse } from "smol-toml";
import { BerthError } from "../errors/berth-error.ts";
import type { Config } from "./config.ts";
import { parseMetricsAddress } from "./metrics-address.ts";
import type { Option } from "./options.ts";
import { options } from "./options.ts";

/** Where the file is looked for when --config is not given; there it may be missing. */
export const defaultConfigPath = "/etc/berth/berth.toml";

/** Values by "table.key" (or "key"), as given in file or flags. */
type Given = ReadonlyMap<string, string | number | readonly string[]>;

/** What the command line says. */
export interface CommandLine {
  readonly verb: "serve" | "check" | "help" | "version";
  /** undefined: the default place. */
  readonly configPath: string | undefined;
  readonly flags: Given;
}

function nameOf(option: Option): string {
  return option.table === "" ? option.key : `${option.table}.${option.key}`;
}

function wrong(message: string): BerthError {
  return new BerthError("invalid-argument", message);
}

/** Reads argv (without node and script). Unknown words are errors. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  let verb: CommandLine["verb"] = "serve";
  let configPath: string | undefined;
  const flags = new Map<string, string | number | readonly string[]>();
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "--help" || word === "-h") {
      verb = "help";
    } else if (word === "--version") {
      verb = "version";
    } else if (word === "check" || word === "serve") {
      verb = verb === "serve" ? word : verb;
    } else {
      const { name, value } = splitFlag(word, words);
      if (name === "--config") {
        configPath = resolve(value);
      } else {
        addFlag(flags, name, value);
      }
    }
  }
  return { verb, configPath, flags };
}

function splitFlag(word: string, rest: string[]): { readonly name: string; readonly value: string } {
  if (!word.startsWith("--")) {
    throw wrong(`argument ${JSON.stringify(word)}: not understood; see berthd --help`);
  }
  const cut = word.indexOf("=");
  if (cut !== -1) {
    return { name: word.slice(0, cut), value: word.slice(cut + 1) };
  }
  const value = rest.shift();
  if (value === undefined) {
    throw wrong(`flag ${word}: a value is missing`);
  }
  return { name: word, value };
}

function addFlag(flags: Map<string, string | number | readonly string[]>, flag: string, value: string): void {
  const option = options.find((known) => known.flag === flag);
  if (option === undefined) {
    throw wrong(`flag ${flag}: unknown; see berthd --help`);
  }
  const name = nameOf(option);
  if (option.type === "strings" || option.type === "paths") {
    const before = flags.get(name);
    const list = Array.isArray(before) ? before : [];
    flags.set(
      name,
      [...list, ...value.split(",")].map((item) => check(option, item) as string),
    );
    return;
  }
  flags.set(name, check(option, option.type === "count" ? toNumber(option, value) : value));
}

function toNumber(option: Option, value: string): number {
  if (!/^\d+$/.test(value)) {
    throw wrong(`${option.flag} ${JSON.stringify(value)}: not a whole number`);
  }
  return Number(value);
}

/** Flags beat the file, the file beats the defaults. `installDir` is where the native programs are if nothing says otherwise. */
export async function loadConfig(commandLine: CommandLine, installDir: string): Promise<Config> {
  const file = await readConfigFile(commandLine.configPath);
  const given = new Map([...file, ...commandLine.flags]);
  return resolveConfig(given, installDir);
}

async function readConfigFile(path: string | undefined): Promise<Given> {
  if (path === undefined && !existsSync(defaultConfigPath)) {
    return new Map();
  }
  const used = path ?? defaultConfigPath;
  let text: string;
  try {
    text = await readFile(used, "utf8");
  } catch (error) {
    throw new BerthError("invalid-argument", `configuration file ${used}: can't be read`, { cause: error });
  }
  return parseConfigFile(text, used);
}

/** Reads a configuration file's text; `path` is for messages. Unknown keys are errors. */
export function parseConfigFile(text: string, path: string): Given {
  let document: Record<string, unknown>;
  try {
    document = parse(text);
  } catch (error) {
    throw wrong(`configuration file ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const given = new Map<string, string | number | readonly string[]>();
  for (const [key, value] of Object.entries(document)) {
    const isTable = typeof value === "object" && value !== null && !Array.isArray(value);
    for (const [name, inner] of isTable ? tableEntries(key, value) : [[key, value] as const]) {
      const option = options.find((known) => nameOf(known) === name);
      if (option === undefined) {
        throw wrong(`configuration file ${path}: unknown key ${JSON.stringify(name)}`);
      }
      given.set(name, check(option, inner));
    }
  }
  return given;
}

function tableEntries(table: string, value: object): (readonly [string, unknown])[] {
  return Object.entries(value).map(([key, inner]): readonly [string, unknown] => [`${table}.${key}`, inner]);
}

/** The value, if it is of the option's type and in its range. */
function check(option: Option, value: unknown): string | number | readonly string[] {
  const said = `option ${nameOf(option)} (${option.flag}) ${JSON.stringify(value)}`;
  if (option.type === "count") {
    if (typeof value !== "number" || !Number.isSafeInteger(value)) {
      throw wrong(`${said}: not a whole number`);
    }
    if (value < (option.minimum ?? 0) || value > (option.maximum ?? Number.MAX_SAFE_INTEGER)) {
      throw wrong(`${said}: not within ${option.minimum}..${option.maximum}`);
    }
    return value;
  }
  if (Array.isArray(value) && (option.type === "strings" || option.type === "paths")) {
    return value.map((item: unknown) => check(option, item) as string);
  }
  if (typeof value !== "string") {
    throw wrong(`${said}: not a string`);
  }
  if (option.oneOf !== undefined && !option.oneOf.includes(value)) {
    throw wrong(`${said}: not one of ${option.oneOf.join(", ")}`);
  }
  const isPath = option.type === "path" || option.type === "paths";
  if (isPath && value !== "" && !isAbsolute(value)) {
    throw wrong(`${said}: not an absolute path`);
  }
  return value;
}

/** Values with their defaults. */
interface Values {
  text(name: string, fallback: string): string;
  count(name: string, fallback: number): number;
  list(name: string, fallback: readonly string[]): readonly string[];
}

function valuesOf(given: Given): Values {
  return {
    text: (name, fallback) => {
      const value = given.get(name);
      return typeof value === "string" ? value : fallback;
    },
    count: (name, fallback) => {
      const value = given.get(name);
      return typeof value === "number" ? value : fallback;
    },
    list: (name, fallback) => {
      const value = given.get(name);
      return Array.isArray(value) ? value : fallback;
    },
  };
}

function resolveConfig(given: Given, installDir: string): Config {
  const { text, count, list } = valuesOf(given);
  const state = text("state", "/run/berth");
  const config: Config = {
    socket: text("socket", "/run/berth/berth.sock"),
    root: text("root", "/var/lib/berth"),
    state,
    netnsDir: text("netns_dir", "/run/netns"),
    nativeDir: text("native_dir", installDir),
    logLevel: text("log_level", "info") as Config["logLevel"],
    cni: {
      confDir: text("cni.conf_dir", "/etc/cni/net.d"),
      binDirs: list("cni.bin_dirs", ["/opt/cni/bin", "/usr/lib/cni"]),
      cacheDir: text("cni.cache_dir", "/var/lib/cni"),
      workerSocket: text("cni.worker_socket", join(state, "cni.sock")),
      timeoutSeconds: count("cni.timeout_seconds", 60),
    },
    registry: {
      certsDir: text("registry.certs_dir", defaultCertsDir()),
      authFile: text("registry.auth_file", "/etc/berth/auth.json"),
      policyFile: text("registry.policy_file", "/etc/berth/policy.toml"),
      maxConcurrentDownloads: count("registry.max_concurrent_downloads", 4),
      stallTimeoutSeconds: count("registry.stall_timeout_seconds", 60),
      pinned: list("registry.pinned", []),
    },
    runtime: {
      defaultCgroupParent: text("runtime.default_cgroup_parent", "/berth"),
      cgroupDriver: text("runtime.cgroup_driver", "auto") as Config["runtime"]["cgroupDriver"],
      pidsLimit: count("runtime.pids_limit", 0),
      seccompProfile: text("runtime.seccomp_profile", ""),
      maxLogLineBytes: count("runtime.max_log_line_bytes", 16384),
      shmBytes: count("runtime.shm_bytes", 64 * 1024 * 1024),
      writableLayerBytes: count("runtime.writable_layer_bytes", 0),
      poolSize: count("runtime.pool_size", 4),
      cdiSpecDirs: list("runtime.cdi_spec_dirs", ["/etc/cdi", "/var/run/cdi"]),
    },
    stream: {
      address: text("stream.address", "127.0.0.1"),
      port: count("stream.port", 0),
      idleTimeoutSeconds: count("stream.idle_timeout_seconds", 4 * 3600),
      tlsCert: text("stream.tls_cert", ""),
      tlsKey: text("stream.tls_key", ""),
    },
    metrics: { address: parseMetricsAddress(text("metrics.address", "")) },
  };
  if ((config.stream.tlsCert === "") !== (config.stream.tlsKey === "")) {
    throw wrong("options stream.tls_cert and stream.tls_key: one is given without the other");
  }
  return config;
}

function defaultCertsDir(): string {
  const own = "/etc/berth/certs.d";
  return existsSync(own) ? own : "/etc/containerd/certs.d";
}
