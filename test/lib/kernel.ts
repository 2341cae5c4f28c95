import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** Whether this kernel's nf_tables know IP at all: without, there are no host ports and there is no masquerading. */
export const hasNat = spawnSync("nft", ["--check", "add", "table", "inet", "berth_probe"]).status === 0;

export const cgroupVersion = existsSync("/sys/fs/cgroup/cgroup.controllers") ? 2 : 1;

/** Without them (user-mode Linux) a container has the host's clocks. */
export const hasTimeNamespaces = existsSync("/proc/self/ns/time");
