import { posix } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { CdiDeviceNode, CdiEdits, CdiHook, CdiMount } from "../../ports/cdi.ts";

/** One spec file of the Container Device Interface. */
export interface CdiSpec {
  readonly path: string;
  /** vendor.com/class. */
  readonly kind: string;
  /** For every container that gets one of the devices. */
  readonly edits: CdiEdits;
  /** By bare name. */
  readonly devices: ReadonlyMap<string, CdiEdits>;
}

type Fields = Readonly<Record<string, unknown>>;

const name = "[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?";
const kindPattern = /^[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\/[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
const namePattern = new RegExp(`^${name}$`);

/**
 * Reads a spec (CDI 0.x and 1.x). Strict: an edit that isn't understood would make a container that lacks something and
 * doesn't say so. Throws `invalid-argument` naming file and field.
 */
export async function parseSpec(path: string, text: string): Promise<CdiSpec> {
  try {
    return toSpec(path, fields(await parseText(path, text), "the file", specKeys));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new BerthError("invalid-argument", `CDI spec ${path}: ${why}`, { cause: error });
  }
}

const specKeys = ["cdiVersion", "kind", "annotations", "devices", "containerEdits"];

async function parseText(path: string, text: string): Promise<unknown> {
  if (path.endsWith(".json")) return JSON.parse(text) as unknown;
  // Most nodes have no such file, and the parser is larger than the rest of this part together.
  const { parse } = await import("yaml");
  // 1.1, as the specs' other readers have it: there 0660 is octal.
  return parse(text, { version: "1.1" }) as unknown;
}

function toSpec(path: string, spec: Fields): CdiSpec {
  const version = string(spec.cdiVersion, "cdiVersion");
  if (!/^[01]\.\d+\.\d+$/.test(version)) wrong("cdiVersion", version, "is not 0.x or 1.x");
  const kind = string(spec.kind, "kind");
  if (!kindPattern.test(kind)) wrong("kind", kind, "is not vendor/class");
  const devices = new Map<string, CdiEdits>();
  for (const [index, item] of list(spec.devices, "devices").entries()) {
    const where = `devices[${index}]`;
    const device = fields(item, where, ["name", "annotations", "containerEdits"]);
    const own = string(device.name, `${where}.name`);
    if (!namePattern.test(own)) wrong(`${where}.name`, own, "is not a device's name");
    if (devices.has(own)) wrong(`${where}.name`, own, "is there twice");
    const source = `CDI device ${kind}=${own} (${path})`;
    devices.set(own, toEdits(device.containerEdits, `${where}.containerEdits`, source));
  }
  if (devices.size === 0) throw new Error("devices: there are none");
  return {
    path,
    kind,
    edits: toEdits(spec.containerEdits, "containerEdits", `CDI kind ${kind} (${path})`),
    devices,
  };
}

const editKeys = ["env", "deviceNodes", "mounts", "hooks", "intelRdt", "additionalGids", "netDevices"];

function toEdits(value: unknown, where: string, source: string): CdiEdits {
  const edits = fields(value ?? {}, where, editKeys);
  const each = <T>(key: string, convert: (item: unknown, at: string) => T): readonly T[] =>
    list(edits[key], `${where}.${key}`).map((item, index) => convert(item, `${where}.${key}[${index}]`));
  const hooks = each("hooks", toHook);
  return {
    source,
    env: each("env", toVariable),
    deviceNodes: each("deviceNodes", toDeviceNode),
    mounts: each("mounts", toMount),
    additionalGids: each("additionalGids", (item, at) => whole(item, at, 0xffff_fffe)).filter(
      (gid) => gid !== 0,
    ),
    hooks: hooks.filter(({ name }) => name === "createContainer"),
    refused: [
      ...hooks
        .filter(({ name }) => name !== "createContainer")
        .map(({ name, path }) => `hook ${name} ${path}`),
      ...(edits.intelRdt === undefined || edits.intelRdt === null ? [] : ["intelRdt"]),
      ...each("netDevices", describeNetDevice),
    ],
  };
}

function toVariable(value: unknown, where: string): string {
  const text = string(value, where);
  if (text.indexOf("=") <= 0 || text.includes("\0")) wrong(where, text, "is not KEY=value");
  return text;
}

const nodeKeys = ["path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"];

function toDeviceNode(value: unknown, where: string): CdiDeviceNode {
  const node = fields(value, where, nodeKeys);
  const path = absolute(node.path, `${where}.path`);
  const hostPath = given(node.hostPath) ? absolute(node.hostPath, `${where}.hostPath`) : path;
  const optional = (key: string, most: number) =>
    given(node[key]) ? whole(node[key], `${where}.${key}`, most) : undefined;
  return {
    path,
    hostPath,
    type: toType(node.type, `${where}.type`),
    major: optional("major", 0xfff_ffff) ?? 0,
    minor: optional("minor", 0xffff_ffff) ?? 0,
    mode: optional("fileMode", 0xffff_ffff),
    access: toAccess(node.permissions, `${where}.permissions`),
    uid: optional("uid", 0xffff_fffe),
    gid: optional("gid", 0xffff_fffe),
  };
}

function toType(value: unknown, where: string): CdiDeviceNode["type"] {
  if (!given(value)) return undefined;
  const type = string(value, where);
  switch (type) {
    case "c":
    case "b":
    case "p":
      return type;
    case "u":
      return "c";
    default:
      return wrong(where, type, "is not one of b, c, u, p");
  }
}

function toAccess(value: unknown, where: string): string {
  if (!given(value)) return "rwm";
  const permissions = string(value, where);
  if (permissions === "none") return "";
  if (!/^[rwm]{1,3}$/.test(permissions)) wrong(where, permissions, "is not made of r, w and m");
  return permissions;
}

function toMount(value: unknown, where: string): CdiMount {
  const mount = fields(value, where, ["hostPath", "containerPath", "type", "options"]);
  return {
    hostPath: string(mount.hostPath, `${where}.hostPath`),
    containerPath: absolute(mount.containerPath, `${where}.containerPath`),
    type: given(mount.type) ? string(mount.type, `${where}.type`) : "",
    options: list(mount.options, `${where}.options`).map((item, index) =>
      string(item, `${where}.options[${index}]`),
    ),
  };
}

function toHook(value: unknown, where: string): CdiHook & { readonly name: string } {
  const hook = fields(value, where, ["hookName", "path", "args", "env", "timeout"]);
  const texts = (key: string) =>
    list(hook[key], `${where}.${key}`).map((item, index) => string(item, `${where}.${key}[${index}]`));
  return {
    name: string(hook.hookName, `${where}.hookName`),
    path: absolute(hook.path, `${where}.path`),
    args: texts("args"),
    env: texts("env"),
    timeoutSeconds: given(hook.timeout)
      ? Math.max(whole(hook.timeout, `${where}.timeout`, 3600), 1)
      : undefined,
  };
}

function describeNetDevice(value: unknown, where: string): string {
  const device = fields(value, where, ["hostInterfaceName", "name"]);
  return `network device ${string(device.hostInterfaceName, `${where}.hostInterfaceName`)}`;
}

/** Left out, or empty as some generators write it. */
function given(value: unknown): boolean {
  return value !== undefined && value !== null && value !== "";
}

function fields(value: unknown, where: string, known: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error(`${where}: is not an object`);
  }
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new Error(`${where}: unknown field ${JSON.stringify(unknown)}`);
  return value as Fields;
}

function list(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Error(`${where}: is not a list`);
  return value;
}

function string(value: unknown, where: string): string {
  if (typeof value !== "string" || value === "") throw new Error(`${where}: is not a text, or empty`);
  return value;
}

function absolute(value: unknown, where: string): string {
  const path = string(value, where);
  if (!path.startsWith("/") || path.includes("\0")) wrong(where, path, "is not an absolute path");
  return posix.normalize(path);
}

function whole(value: unknown, where: string, most: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > most) {
    return wrong(where, value, `is not a whole number up to ${most}`);
  }
  return value;
}

function wrong(where: string, value: unknown, what: string): never {
  throw new Error(`${where}: ${JSON.stringify(value)} ${what}`);
}
