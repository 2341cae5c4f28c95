import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

/** Whether this kernel's nf_tables know IP at all: without, there are no host ports and there is no masquerading. */
export const hasNat = spawnSync("nft", ["--check", "add", "table", "inet", "berth_probe"]).status === 0;

export const cgroupVersion = existsSync("/sys/fs/cgroup/cgroup.controllers") ? 2 : 1;

/** Without them (user-mode Linux) a container has the host's clocks. */
export const hasTimeNamespaces = existsSync("/proc/self/ns/time");

/** User-mode Linux: a system call costs fifty times as much there. */
export const isEmulated = readFileSync("/proc/cpuinfo", "utf8").includes("User Mode Linux");
