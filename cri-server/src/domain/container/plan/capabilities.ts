import { BerthError } from "../../../errors/berth-error.ts";
import type { SecurityContext } from "../../../model/container.ts";
import type { CapabilityPlan } from "../../../model/plan.ts";

/** include/uapi/linux/capability.h, by number. */
const names = [
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "KILL",
  "SETGID",
  "SETUID",
  "SETPCAP",
  "LINUX_IMMUTABLE",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_ADMIN",
  "NET_RAW",
  "IPC_LOCK",
  "IPC_OWNER",
  "SYS_MODULE",
  "SYS_RAWIO",
  "SYS_CHROOT",
  "SYS_PTRACE",
  "SYS_PACCT",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_NICE",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "MKNOD",
  "LEASE",
  "AUDIT_WRITE",
  "AUDIT_CONTROL",
  "SETFCAP",
  "MAC_OVERRIDE",
  "MAC_ADMIN",
  "SYSLOG",
  "WAKE_ALARM",
  "BLOCK_SUSPEND",
  "AUDIT_READ",
  "PERFMON",
  "BPF",
  "CHECKPOINT_RESTORE",
] as const;

const numbers: ReadonlyMap<string, bigint> = new Map(names.map((name, number) => [name, BigInt(number)]));

/** What a container gets that asks for nothing: the set that Docker chose and every CRI runtime gives. */
const defaultSet = set([
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
]);

type CapabilityRequest = Pick<
  SecurityContext,
  "capabilitiesAdd" | "capabilitiesDrop" | "capabilitiesAmbient" | "privileged"
>;

/**
 * The five sets. ALL is applied first on both sides, then single names: an added one survives drop ALL, a dropped one loses
 * against nothing. Nothing beyond `bounding` (the server's own set) can be given. Inheritable stays empty unless an ambient
 * capability was asked for (CVE-2022-24769).
 */
export function resolveCapabilities(request: CapabilityRequest, bounding: bigint): CapabilityPlan {
  const add = request.capabilitiesAdd.map((name) => normalize(name, "add_capabilities"));
  const drop = request.capabilitiesDrop.map((name) => normalize(name, "drop_capabilities"));
  const ambientNames = request.capabilitiesAmbient.map((name) => normalize(name, "add_ambient_capabilities"));
  let wanted = request.privileged ? bounding : defaultSet;
  if (!request.privileged) {
    if (add.includes("ALL")) wanted = bounding;
    if (drop.includes("ALL")) wanted = 0n;
    wanted |= set(add);
    wanted &= ~set(drop);
  }
  const ambient = (ambientNames.includes("ALL") ? bounding : set(ambientNames)) & bounding;
  const permitted = (wanted & bounding) | ambient;
  return { bounding: permitted, effective: permitted, permitted, inheritable: ambient, ambient };
}

/** The names (with CAP_) that a container asked for by name and can't have here, for a warning. */
export function unavailableCapabilities(request: CapabilityRequest, bounding: bigint): readonly string[] {
  return [...request.capabilitiesAdd, ...request.capabilitiesAmbient]
    .map((name) => normalize(name, "add_capabilities"))
    .filter((name) => name !== "ALL" && (set([name]) & bounding) === 0n)
    .map((name) => `CAP_${name}`);
}

/** The names (with CAP_) in a set. */
export function capabilityNames(bits: bigint): readonly string[] {
  return names.filter((_, number) => (bits >> BigInt(number)) & 1n).map((name) => `CAP_${name}`);
}

function normalize(name: string, field: string): string {
  const upper = name.toUpperCase().replace(/^CAP_/, "");
  if (upper !== "ALL" && !numbers.has(upper)) {
    throw new BerthError(
      "invalid-argument",
      `security_context.capabilities.${field}: ${JSON.stringify(name)} is not a capability`,
    );
  }
  return upper;
}

function set(list: readonly string[]): bigint {
  return list.reduce((bits, name) => {
    const number = numbers.get(name);
    return number === undefined ? bits : bits | (1n << number);
  }, 0n);
}
