import type { ContainerEventResponse } from "../../../proto/gen/api.ts";
import { ContainerEventType } from "../../../proto/gen/api.ts";
import type { Container } from "../model/container.ts";
import type { LifecycleEvent, LifecycleKind } from "../model/lifecycle.ts";
import { presentContainerStatus } from "./container.ts";
import { presentSandboxStatus } from "./sandbox.ts";

const types: Readonly<Record<LifecycleKind, ContainerEventType>> = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
};

/** Always with the sandbox's status: the kubelet drops events without one. */
export function presentEvent(event: LifecycleEvent): ContainerEventResponse {
  return {
    containerId: event.id,
    containerEventType: types[event.kind],
    createdAt: event.at,
    podSandboxStatus: presentSandboxStatus(event.sandbox),
    containersStatuses: event.containers.filter(isVisible).map(presentContainerStatus),
  };
}

function isVisible({ status }: Container): boolean {
  return status.phase !== "creating" && status.phase !== "removing";
}
