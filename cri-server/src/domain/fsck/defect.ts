import type { Finding } from "../../model/finding.ts";
import type { Inspection } from "../../ports/inspection.ts";
import type { Upkeep } from "../../ports/upkeep.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry, PodEntry } from "../objects.ts";

/** A finding and what mends it. */
export interface Defect extends Finding {
  /** Missing: only people can. Idempotent. */
  readonly repair?: () => Promise<void>;
}

/** What a check is made from. */
export interface FsckDeps extends LifecycleDeps {
  readonly inspection: Inspection;
  readonly upkeep: Upkeep;
}

export function podLabel({ sandbox }: PodEntry): string {
  const { namespace, name } = sandbox.config.metadata;
  return `pod ${namespace}/${name} (${sandbox.id.slice(0, 13)})`;
}

export function containerLabel({ container, pod }: ContainerEntry): string {
  const { namespace, name } = pod.sandbox.config.metadata;
  return `container ${namespace}/${name}/${container.config.metadata.name} (${container.id.slice(0, 13)})`;
}

/** Names a defect, so that two looks can be compared. */
export function keyOf({ kind, subject, what }: Finding): string {
  return `${kind} ${subject} ${what}`;
}
