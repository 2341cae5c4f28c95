import { BerthError } from "../../errors/berth-error.ts";
import type { ConfigFile } from "../../ports/cni.ts";
import { chooseVersion, supportedVersions } from "./versions.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export interface PluginConfig {
  readonly type: string;
  /** The capabilities that it wants, i.e. those set to true. */
  readonly capabilities: readonly string[];
  readonly config: JsonObject;
}

export interface NetworkList {
  readonly name: string;
  /** The version chosen for every request. */
  readonly cniVersion: string;
  readonly plugins: readonly PluginConfig[];
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  /** What the cache keeps: the whole list as JSON, fragments from files included. */
  readonly text: string;
}

/** Names end up in file names and environment variables (SPEC.md, "name"). */
const identifier = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(source: string, why: string): never {
  throw new BerthError("network-not-ready", `CNI configuration ${source}: ${why}`);
}

/** Parses JSON to an object, or refuses naming the source. */
function parseObject(source: string, text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BerthError("network-not-ready", `CNI configuration ${source}: not valid JSON`, {
      cause: error,
    });
  }
  return isObject(value) ? value : refuse(source, "not a JSON object");
}

/** Booleans may come as the strings "true" and "false", which libcni accepts too. */
function flag(source: string, object: JsonObject, key: string): boolean {
  const value = object[key];
  if (value === undefined || value === false || value === "false") {
    return false;
  }
  return (
    value === true || value === "true" || refuse(source, `${key} is ${JSON.stringify(value)}, not a boolean`)
  );
}

function parsePlugin(source: string, value: unknown, index: number): PluginConfig {
  if (!isObject(value)) {
    return refuse(source, `plugins[${index}] is not an object`);
  }
  const { type, capabilities } = value;
  // The type is the name of a program in one of our directories: it must not lead out of them.
  if (typeof type !== "string" || !identifier.test(type)) {
    return refuse(source, `plugins[${index}].type is ${JSON.stringify(type)}`);
  }
  if (capabilities !== undefined && capabilities !== null && !isObject(capabilities)) {
    return refuse(source, `plugins[${index}].capabilities is not an object`);
  }
  const wanted = Object.entries(capabilities ?? {}).filter(([, on]) => on === true);
  return { type, capabilities: wanted.map(([name]) => name), config: value };
}

function versionOf(source: string, list: JsonObject): string {
  const offered = [list.cniVersion ?? "0.1.0", ...(Array.isArray(list.cniVersions) ? list.cniVersions : [])];
  const strings = offered.filter((version): version is string => typeof version === "string");
  return (
    chooseVersion(strings) ??
    refuse(source, `cniVersion ${strings.join(", ")} is not one of ${supportedVersions.join(", ")}`)
  );
}

/** Whether the list asks for plugin configurations in files of their own. Only for lists, and only unless it says no. */
export function fragmentsOf(file: ConfigFile): string | undefined {
  const object = parseObject(file.path, file.text);
  const { name } = object;
  if (object.plugins === undefined && object.type !== undefined) {
    return undefined;
  }
  if (
    flag(file.path, object, "loadOnlyInlinedPlugins") ||
    typeof name !== "string" ||
    !identifier.test(name)
  ) {
    return undefined;
  }
  return name;
}

/**
 * Reads a network configuration. A single plugin's configuration becomes a list of one. Rejects `network-not-ready`
 * naming the file and the key.
 */
export function parseNetworkList(
  source: string,
  text: string,
  fragments: readonly ConfigFile[] = [],
): NetworkList {
  const object = parseObject(source, text);
  const single = object.plugins === undefined && object.type !== undefined;
  const { name } = object;
  if (typeof name !== "string" || !identifier.test(name)) {
    return refuse(source, `name is ${JSON.stringify(name)}`);
  }
  const inline: unknown = single ? [object] : (object.plugins ?? []);
  if (!Array.isArray(inline)) {
    return refuse(source, "plugins is not an array");
  }
  const all: unknown[] = [...inline, ...fragments.map((file) => parseObject(file.path, file.text))];
  if (all.length === 0) {
    return refuse(source, "it has no plugins");
  }
  const cniVersion = versionOf(source, object);
  const whole = single
    ? { cniVersion, name, plugins: all }
    : { ...object, plugins: all, loadOnlyInlinedPlugins: true };
  return {
    name,
    cniVersion,
    plugins: all.map((plugin, index) => parsePlugin(source, plugin, index)),
    disableCheck: flag(source, object, "disableCheck"),
    disableGC: flag(source, object, "disableGC"),
    text: single || fragments.length > 0 ? JSON.stringify(whole) : text,
  };
}
