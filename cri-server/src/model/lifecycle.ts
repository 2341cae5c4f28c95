import type { Container } from "./container.ts";
import type { Sandbox } from "./sandbox.ts";

export type LifecycleKind = "created" | "started" | "stopped" | "deleted";

/** What happened to a container or a sandbox, with the state of the whole pod right after it. */
export interface LifecycleEvent {
  readonly kind: LifecycleKind;
  /** The container's id, or the sandbox's own. */
  readonly id: string;
  /** Nanoseconds since the epoch. */
  readonly at: bigint;
  readonly sandbox: Sandbox;
  readonly containers: readonly Container[];
}
