import { access, readFile } from "node:fs/promises";
import { BerthError } from "../../errors/berth-error.ts";
import type { Cgroups } from "../../ports/cgroups.ts";
import type { Clock } from "../../ports/clock.ts";
import { SystemdManager } from "../systemd/systemd-manager.ts";
import type { CgroupLayout } from "./cgroup-layout.ts";
import { findCgroupLayout } from "./cgroup-layout.ts";
import { CgroupsSystemd } from "./cgroup-systemd.ts";
import { CgroupsV1 } from "./cgroup1.ts";
import { CgroupsV2 } from "./cgroup2.ts";
import { readHugePageSizes } from "./huge-pages.ts";
import { parseMountInfo } from "./mountinfo.ts";
import { TurnQueue } from "./turn-queue.ts";

export interface CgroupOptions {
  /** Config.runtime.defaultCgroupParent. */
  readonly defaultParent: string;
  readonly driver: "auto" | "cgroupfs" | "systemd";
  readonly clock: Clock;
  /** Shared by all who read statistics, so that they take turns. */
  readonly turns?: TurnQueue;
}

/** How this machine has its cgroups mounted. */
export async function readCgroupLayout(): Promise<CgroupLayout> {
  return findCgroupLayout(parseMountInfo(await readFile("/proc/self/mountinfo", "utf8")));
}

/** Who makes groups: `auto` is systemd where it runs the machine (sd_booted(3)) and cgroup v2 is the machine's mode. */
export async function chooseDriver(
  wanted: CgroupOptions["driver"],
  layout: CgroupLayout,
): Promise<Cgroups["driver"]> {
  if (wanted === "systemd" && layout.version === 1) {
    throw new BerthError("invalid-argument", "runtime.cgroup_driver: systemd: this machine has cgroup v1");
  }
  if (wanted !== "auto") return wanted;
  return layout.version === 2 && (await isBootedBySystemd()) ? "systemd" : "cgroupfs";
}

async function isBootedBySystemd(): Promise<boolean> {
  try {
    await access("/run/systemd/system");
    return true;
  } catch {
    return false;
  }
}

async function connectedManager(): Promise<SystemdManager> {
  const manager = new SystemdManager();
  await manager.connect();
  return manager;
}

/** The cgroups of this machine, v1 or v2 as they are mounted. */
export async function openCgroups(options: CgroupOptions): Promise<Cgroups> {
  const layout = await readCgroupLayout();
  const driver = await chooseDriver(options.driver, layout);
  const settings = {
    defaultParent: options.defaultParent,
    clock: options.clock,
    turns: options.turns ?? new TurnQueue(),
    hugePageSizes: await readHugePageSizes(),
  };
  switch (layout.version) {
    case 1:
      return new CgroupsV1(layout.hierarchies, settings);
    case 2:
      return driver === "systemd"
        ? new CgroupsSystemd(layout.mountpoint, settings, await connectedManager())
        : new CgroupsV2(layout.mountpoint, settings);
  }
}
