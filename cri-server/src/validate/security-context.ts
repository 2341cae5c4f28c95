import type { LinuxContainerSecurityContext } from "../../../proto/gen/api.ts";
import { SupplementalGroupsPolicy } from "../../../proto/gen/api.ts";
import type { SecurityContext, UserRequest } from "../model/container.ts";
import type { NamespaceOptions } from "../model/namespaces.ts";
import type { Check } from "./check.ts";
import { absolutePath, complain, hasControl, runChecks } from "./check.ts";
import { checkUnixId } from "./ids.ts";
import { toNamespaceOptions } from "./namespaces.ts";
import { checkSelinuxLevel, toApparmor, toSeccomp, toSelinux } from "./profiles.ts";

const field = "linux.security_context";

/** Hidden from a container whose client sent no security context at all; one that sends a list gets exactly that list. */
const defaultMaskedPaths: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
];

const defaultReadonlyPaths: readonly string[] = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
];

const checks: readonly Check<LinuxContainerSecurityContext>[] = [
  ({ runAsUser }) =>
    runAsUser === undefined ? undefined : checkUnixId(`${field}.run_as_user`, runAsUser.value),
  ({ runAsGroup }) =>
    runAsGroup === undefined ? undefined : checkUnixId(`${field}.run_as_group`, runAsGroup.value),
  ({ supplementalGroups }) =>
    firstOf(supplementalGroups, (id) => checkUnixId(`${field}.supplemental_groups`, id)),
  ({ runAsUser, runAsUsername }) =>
    runAsUser !== undefined && runAsUsername !== ""
      ? complain(`${field}.run_as_username`, runAsUsername, "run_as_user is given too")
      : undefined,
  ({ runAsUsername }) =>
    hasControl(runAsUsername) || runAsUsername.includes(":")
      ? complain(`${field}.run_as_username`, runAsUsername, "can't be a user's name")
      : undefined,
  ({ runAsGroup, runAsUser, runAsUsername }) =>
    runAsGroup !== undefined && runAsUser === undefined && runAsUsername === ""
      ? complain(
          `${field}.run_as_group`,
          runAsGroup.value,
          "neither run_as_user nor run_as_username is given",
        )
      : undefined,
  ({ supplementalGroupsPolicy: policy }) =>
    policy !== SupplementalGroupsPolicy.Merge && policy !== SupplementalGroupsPolicy.Strict
      ? complain(`${field}.supplemental_groups_policy`, policy, "neither Merge nor Strict")
      : undefined,
  ({ maskedPaths }) => firstOf(maskedPaths, (path) => absolutePath(`${field}.masked_paths`, path)),
  ({ readonlyPaths }) => firstOf(readonlyPaths, (path) => absolutePath(`${field}.readonly_paths`, path)),
  ({ selinuxOptions }) => checkSelinuxLevel(`${field}.selinux_options`, selinuxOptions?.level ?? ""),
];

function firstOf<T>(items: readonly T[], check: Check<T>): string | undefined {
  for (const item of items) {
    const complaint = check(item);
    if (complaint !== undefined) {
      return complaint;
    }
  }
  return undefined;
}

/** A container's security context. Namespace options that are not given are the pod's. */
export function toSecurityContext(
  message: LinuxContainerSecurityContext | undefined,
  pod: NamespaceOptions,
): SecurityContext {
  if (message === undefined) {
    return withoutContext(pod);
  }
  runChecks(message, checks);
  const apparmor = toApparmor(`${field}.apparmor`, message.apparmor, message.apparmorProfile);
  const selinux = toSelinux(`${field}.selinux_options`, message.selinuxOptions);
  const { capabilities } = message;
  return {
    capabilitiesAdd: [...(capabilities?.addCapabilities ?? [])],
    capabilitiesDrop: [...(capabilities?.dropCapabilities ?? [])],
    capabilitiesAmbient: [...(capabilities?.addAmbientCapabilities ?? [])],
    privileged: message.privileged,
    namespaces:
      message.namespaceOptions === undefined ? pod : toNamespaceOptions(message.namespaceOptions, false),
    user: toUser(message),
    readonlyRootfs: message.readonlyRootfs,
    noNewPrivileges: message.noNewPrivs,
    maskedPaths: [...message.maskedPaths],
    readonlyPaths: [...message.readonlyPaths],
    seccomp: toSeccomp(`${field}.seccomp`, message.seccomp),
    ...(apparmor === undefined ? {} : { apparmor }),
    ...(selinux === undefined ? {} : { selinux }),
  };
}

function toUser(message: LinuxContainerSecurityContext): UserRequest {
  return {
    ...(message.runAsUser === undefined ? {} : { uid: message.runAsUser.value }),
    ...(message.runAsUsername === "" ? {} : { username: message.runAsUsername }),
    ...(message.runAsGroup === undefined ? {} : { gid: message.runAsGroup.value }),
    supplementalGroups: [...message.supplementalGroups],
    groupsPolicy: message.supplementalGroupsPolicy === SupplementalGroupsPolicy.Strict ? "strict" : "merge",
  };
}

function withoutContext(pod: NamespaceOptions): SecurityContext {
  return {
    capabilitiesAdd: [],
    capabilitiesDrop: [],
    capabilitiesAmbient: [],
    privileged: false,
    namespaces: pod,
    user: { supplementalGroups: [], groupsPolicy: "merge" },
    readonlyRootfs: false,
    noNewPrivileges: false,
    maskedPaths: defaultMaskedPaths,
    readonlyPaths: defaultReadonlyPaths,
    seccomp: { kind: "unconfined" },
  };
}
