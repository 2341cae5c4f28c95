import { readFile } from "node:fs/promises";
import { BerthError } from "../../errors/berth-error.ts";
import type { Cgroups } from "../../ports/cgroups.ts";
import type { Clock } from "../../ports/clock.ts";
import type { CgroupLayout } from "./cgroup-layout.ts";
import { findCgroupLayout } from "./cgroup-layout.ts";
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

/** The cgroups of this machine, v1 or v2 as they are mounted. */
export async function openCgroups(options: CgroupOptions): Promise<Cgroups> {
  if (options.driver === "systemd") {
    throw new BerthError("unimplemented", "runtime.cgroup_driver: systemd: only cgroupfs is offered");
  }
  const layout = await readCgroupLayout();
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
      return new CgroupsV2(layout.mountpoint, settings);
  }
}
