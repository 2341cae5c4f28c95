import type {
  IDMapping,
  NamespaceOption,
  UserNamespace as UserNamespaceMessage,
} from "../../../proto/gen/api.ts";
import { NamespaceMode } from "../../../proto/gen/api.ts";
import type {
  IdMapping,
  NamespaceMode as Mode,
  NamespaceOptions,
  UserNamespace,
} from "../model/namespaces.ts";
import { invalid } from "./check.ts";

const field = "linux.security_context.namespace_options";
/** The last id, 4294967295, means "none" to the kernel. */
const maxId = 4_294_967_295;

/** NamespaceOption; a missing one is all POD, as the proto's zero values say. `isSandbox` rules TARGET out. */
export function toNamespaceOptions(
  message: NamespaceOption | undefined,
  isSandbox: boolean,
): NamespaceOptions {
  if (message === undefined) {
    return { network: "POD", pid: "POD", ipc: "POD" };
  }
  const pid = pidMode(message, isSandbox);
  const userns = toUserNamespace(message.usernsOptions);
  const options: NamespaceOptions = {
    network: podOrNode("network", message.network),
    pid,
    ipc: podOrNode("ipc", message.ipc),
    ...(pid === "TARGET" ? { targetId: message.targetId } : {}),
    ...(userns === undefined ? {} : { userns }),
  };
  if (userns !== undefined) {
    refuseHostWithUserns(options);
  }
  return options;
}

function podOrNode(name: string, mode: number): "POD" | "NODE" {
  if (mode === NamespaceMode.POD) {
    return "POD";
  }
  if (mode === NamespaceMode.NODE) {
    return "NODE";
  }
  throw invalid(`${field}.${name}`, nameOf(mode), "neither POD nor NODE");
}

function pidMode(message: NamespaceOption, isSandbox: boolean): Mode {
  switch (message.pid) {
    case NamespaceMode.POD:
      return "POD";
    case NamespaceMode.CONTAINER:
      return "CONTAINER";
    case NamespaceMode.NODE:
      return "NODE";
    case NamespaceMode.TARGET:
      break;
    default:
      throw invalid(`${field}.pid`, message.pid, "not a namespace mode");
  }
  if (isSandbox) {
    throw invalid(`${field}.pid`, "TARGET", "not possible for a pod sandbox");
  }
  if (message.targetId === "") {
    throw invalid(`${field}.target_id`, "", "has to name a container when pid is TARGET");
  }
  return "TARGET";
}

/** Exactly one range each, the same for users and groups, and with id 0 in it: what CRI allows. */
function toUserNamespace(message: UserNamespaceMessage | undefined): UserNamespace | undefined {
  const name = `${field}.userns_options`;
  if (message === undefined) {
    return undefined;
  }
  if (message.mode === NamespaceMode.NODE) {
    if (message.uids.length > 0 || message.gids.length > 0) {
      throw invalid(`${name}.uids`, message.uids, "ids can't be mapped when mode is NODE");
    }
    return undefined;
  }
  if (message.mode !== NamespaceMode.POD) {
    throw invalid(`${name}.mode`, nameOf(message.mode), "neither POD nor NODE");
  }
  const uid = onlyRange(`${name}.uids`, message.uids);
  const gid = onlyRange(`${name}.gids`, message.gids);
  if (uid.containerId !== gid.containerId || uid.hostId !== gid.hostId || uid.length !== gid.length) {
    throw invalid(`${name}.gids`, message.gids, "differs from uids");
  }
  return { uidMappings: [uid], gidMappings: [gid] };
}

function onlyRange(name: string, mappings: readonly IDMapping[]): IdMapping {
  const [first, ...rest] = mappings.map((mapping) => toIdMapping(name, mapping));
  if (first === undefined || rest.length > 0) {
    throw invalid(name, mappings, "not exactly one range");
  }
  if (first.containerId !== 0) {
    throw invalid(`${name}.container_id`, first.containerId, "the range has to start with container id 0");
  }
  return first;
}

/** One range of ids, within what the kernel accepts. */
export function toIdMapping(name: string, mapping: IDMapping): IdMapping {
  if (mapping.length === 0) {
    throw invalid(`${name}.length`, 0, "an empty range");
  }
  if (mapping.hostId + mapping.length > maxId || mapping.containerId + mapping.length > maxId) {
    throw invalid(name, mapping, `reaches beyond id ${maxId - 1}`);
  }
  return { containerId: mapping.containerId, hostId: mapping.hostId, length: mapping.length };
}

/** proc, sysfs and mqueue can only be mounted by the owner of the namespace that they show. */
function refuseHostWithUserns(options: NamespaceOptions): void {
  for (const name of ["network", "pid", "ipc"] as const) {
    if (options[name] === "NODE") {
      throw invalid(`${field}.${name}`, "NODE", "not possible in a pod with its own user namespace");
    }
  }
}

function nameOf(mode: number): string | number {
  return Object.entries(NamespaceMode).find(([, number]) => number === mode)?.[0] ?? mode;
}
