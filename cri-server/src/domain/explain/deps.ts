import type { Inspection } from "../../ports/inspection.ts";
import type { LifecycleDeps } from "../deps.ts";

/** What an explanation is made from. */
export interface ExplainDeps
  extends Pick<
    LifecycleDeps,
    "objects" | "cgroups" | "storage" | "network" | "images" | "background" | "log"
  > {
  readonly inspection: Inspection;
}
