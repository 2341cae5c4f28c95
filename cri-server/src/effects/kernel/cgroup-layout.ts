import { BerthError } from "../../errors/berth-error.ts";
import type { MountInfo } from "./mountinfo.ts";

/** One mounted v1 hierarchy. */
export interface Hierarchy {
  /** Name of its directory, as the host has it: `memory`, `cpu,cpuacct`, `systemd`. */
  readonly name: string;
  readonly mountpoint: string;
  /** Empty for a named hierarchy without controllers. */
  readonly controllers: readonly string[];
}

/** How this machine has its cgroups. */
export type CgroupLayout =
  | { readonly version: 2; readonly mountpoint: string }
  | { readonly version: 1; readonly hierarchies: readonly Hierarchy[] };

const flags: ReadonlySet<string> = new Set([
  "rw",
  "ro",
  "clone_children",
  "noprefix",
  "xattr",
  "cpuset_v2_mode",
]);
const cgroupRoot = "/sys/fs/cgroup";

/**
 * v2 where cgroup2 itself is mounted on /sys/fs/cgroup; otherwise every v1 hierarchy that is mounted, in mount order. A
 * cgroup2 beside v1 hierarchies ("hybrid") is systemd's and stays untouched.
 */
export function findCgroupLayout(mounts: readonly MountInfo[]): CgroupLayout {
  // The last mount on a path hides those before it.
  const top = mounts.findLast((mount) => mount.mountpoint === cgroupRoot);
  if (top?.fsType === "cgroup2") return { version: 2, mountpoint: cgroupRoot };
  const hierarchies = new Map<string, Hierarchy>();
  for (const mount of mounts) {
    if (mount.fsType !== "cgroup" || !mount.mountpoint.startsWith(`${cgroupRoot}/`)) continue;
    const controllers = mount.superOptions.filter((option) => !flags.has(option) && !option.includes("="));
    const named = mount.superOptions.some((option) => option.startsWith("name="));
    if (controllers.length === 0 && !named) continue;
    const key = mount.device;
    // The same hierarchy mounted twice (cpu and cpu,cpuacct): the first is enough.
    if (hierarchies.has(key)) continue;
    const name = mount.mountpoint.slice(cgroupRoot.length + 1);
    hierarchies.set(key, { name, mountpoint: mount.mountpoint, controllers });
  }
  if (hierarchies.size === 0) {
    throw new BerthError("internal", `cgroups: nothing is mounted on ${cgroupRoot}`);
  }
  return { version: 1, hierarchies: [...hierarchies.values()] };
}
