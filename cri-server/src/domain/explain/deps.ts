import type { ImageId } from "../../model/ids.ts";
import type { Inspection } from "../../ports/inspection.ts";
import type { LifecycleDeps } from "../deps.ts";

/** What an explanation is made from. */
export interface ExplainDeps
  extends Pick<LifecycleDeps, "objects" | "cgroups" | "storage" | "network" | "background" | "log"> {
  readonly inspection: Inspection;
  /** Directories of an image's layers, lowest first; empty when it is gone. */
  readonly layerDirs: (id: ImageId) => Promise<readonly string[]>;
}
