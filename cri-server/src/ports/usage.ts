import type { Container } from "../model/container.ts";
import type { CgroupUsage } from "./cgroups.ts";
import type { LayerUsage } from "./layer-usage.ts";

/** One container's figures at one moment. */
export interface ContainerUsage {
  readonly container: Container;
  readonly cgroup: CgroupUsage;
  readonly layer: LayerUsage;
}
