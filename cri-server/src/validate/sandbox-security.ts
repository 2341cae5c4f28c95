import type { LinuxSandboxSecurityContext } from "../../../proto/gen/api.ts";
import { checkUnixId } from "./ids.ts";
import { toApparmor, toSeccomp, toSelinux } from "./profiles.ts";

const field = "linux.security_context";

/**
 * The fields that describe a sandbox's own process. There is none here, so they have no effect; what can't be meant is
 * still refused.
 */
export function checkSandboxSecurity(message: LinuxSandboxSecurityContext | undefined): string | undefined {
  if (message === undefined) {
    return undefined;
  }
  if (message.runAsGroup !== undefined && message.runAsUser === undefined) {
    return `${field}.run_as_group ${message.runAsGroup.value}: run_as_user is missing`;
  }
  const ids: readonly (readonly [string, bigint])[] = [
    ...(message.runAsUser === undefined ? [] : [["run_as_user", message.runAsUser.value] as const]),
    ...(message.runAsGroup === undefined ? [] : [["run_as_group", message.runAsGroup.value] as const]),
    ...message.supplementalGroups.map((id) => ["supplemental_groups", id] as const),
  ];
  for (const [name, id] of ids) {
    const complaint = checkUnixId(`${field}.${name}`, id);
    if (complaint !== undefined) {
      return complaint;
    }
  }
  toSeccomp(`${field}.seccomp`, message.seccomp);
  toApparmor(`${field}.apparmor`, message.apparmor, "");
  toSelinux(`${field}.selinux_options`, message.selinuxOptions);
  return undefined;
}
