/** The profile of containers that ask for the runtime's default, or for nothing, where AppArmor is on. */
export const defaultApparmorProfile = "berth-default";

/**
 * Its text for apparmor_parser, without includes: no machine's own tunables change it. It is a second wall behind
 * capabilities, namespaces, seccomp and masked paths: most of what it refuses is refused by one of those as well, unless a
 * client has lifted that one. What the other runtimes' default profiles let programs do works here too.
 */
export function defaultApparmorText(): string {
  const rules = [
    "network,",
    "capability,",
    "file,",
    "umount,",
    // The monitor and the launcher have no profile; containers of one pod may share a PID namespace.
    "signal (receive) peer=unconfined,",
    `signal (send, receive) peer=${defaultApparmorProfile},`,
    `ptrace (read, readby, trace, tracedby) peer=${defaultApparmorProfile},`,
    // Whoever may mount could mount a second proc or sysfs, to which none of the rules below would apply.
    "deny mount,",
    ...procRules,
    ...sysRules,
  ];
  const flags = "flags=(attach_disconnected, mediate_deleted)";
  return `profile ${defaultApparmorProfile} ${flags} {\n${rules.map((rule) => `  ${rule}\n`).join("")}}\n`;
}

/** Only what belongs to a process may be written, and of sysctls System V memory's; the machine's own files not even read. */
const procRules = [
  "deny /proc/* w,",
  "deny /proc/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,",
  "deny /proc/sys/[^kn]** w,",
  "deny /proc/sys/kernel/{[^s][^h][^m]**,?,??} w,",
  "deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,",
];

/** sysfs but for cgroups: those are a mount of their own, read-only unless a client wants otherwise. */
const sysRules = [
  "deny /sys/[^f]*/** wklx,",
  "deny /sys/f[^s]*/** wklx,",
  "deny /sys/fs/[^c]*/** wklx,",
  "deny /sys/fs/c[^g]*/** wklx,",
  "deny /sys/fs/cg[^r]*/** wklx,",
  "deny /sys/firmware/** rwklx,",
  "deny /sys/devices/virtual/powercap/** rwklx,",
  "deny /sys/kernel/security/** rwklx,",
];
