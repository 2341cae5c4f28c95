import type {
  ContainerFilter,
  ContainerStatsFilter,
  PodSandboxFilter,
  PodSandboxStatsFilter,
} from "../../../proto/gen/api.ts";
import { ContainerState, PodSandboxState } from "../../../proto/gen/api.ts";
import { invalid } from "./check.ts";

/** What a client sees of a container's phase. */
export type VisibleContainerState = "created" | "running" | "exited" | "unknown";

/** All given conditions have to hold; a missing one always does. */
export interface SandboxQuery {
  readonly id?: string;
  readonly isReady?: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

export interface ContainerQuery {
  readonly id?: string;
  readonly state?: VisibleContainerState;
  readonly sandboxId?: string;
  readonly labels: Readonly<Record<string, string>>;
}

export function toSandboxQuery(filter: PodSandboxFilter | PodSandboxStatsFilter | undefined): SandboxQuery {
  if (filter === undefined) {
    return { labels: {} };
  }
  const state = "state" in filter ? filter.state?.state : undefined;
  if (
    state !== undefined &&
    state !== PodSandboxState.SANDBOX_READY &&
    state !== PodSandboxState.SANDBOX_NOTREADY
  ) {
    throw invalid("filter.state", state, "not a sandbox state");
  }
  return {
    ...(filter.id === "" ? {} : { id: filter.id }),
    ...(state === undefined ? {} : { isReady: state === PodSandboxState.SANDBOX_READY }),
    labels: filter.labelSelector,
  };
}

export function toContainerQuery(filter: ContainerFilter | ContainerStatsFilter | undefined): ContainerQuery {
  if (filter === undefined) {
    return { labels: {} };
  }
  const state = "state" in filter ? filter.state?.state : undefined;
  return {
    ...(filter.id === "" ? {} : { id: filter.id }),
    ...(state === undefined ? {} : { state: toVisibleState(state) }),
    ...(filter.podSandboxId === "" ? {} : { sandboxId: filter.podSandboxId }),
    labels: filter.labelSelector,
  };
}

function toVisibleState(state: number): VisibleContainerState {
  switch (state) {
    case ContainerState.CONTAINER_CREATED:
      return "created";
    case ContainerState.CONTAINER_RUNNING:
      return "running";
    case ContainerState.CONTAINER_EXITED:
      return "exited";
    case ContainerState.CONTAINER_UNKNOWN:
      return "unknown";
    default:
      throw invalid("filter.state", state, "not a container state");
  }
}
