import type { Container, ContainerStatus } from "../../model/container.ts";
import { hasLabels } from "../labels.ts";
import type { ContainerEntry, Objects } from "../objects.ts";
import { isContainerVisible } from "../objects.ts";

/** What a client sees of a container's phase. */
export type VisibleState = "created" | "running" | "exited" | "unknown";

/** All given conditions have to hold. */
export interface ContainerSelection {
  /** Whole, or the start of one. */
  readonly id?: string;
  readonly state?: VisibleState;
  readonly sandboxId?: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The matching containers, from memory. */
export function selectContainers(objects: Objects, selection: ContainerSelection): readonly ContainerEntry[] {
  const found: ContainerEntry[] = [];
  for (const entry of candidates(objects, selection)) {
    if (matches(entry.container, selection)) {
      found.push(entry);
    }
  }
  return found;
}

function candidates(objects: Objects, selection: ContainerSelection): Iterable<ContainerEntry> {
  if (selection.id !== undefined) {
    const entry = objects.findContainer(selection.id);
    return entry === undefined ? [] : [entry];
  }
  return objects.containers();
}

function matches(container: Container, selection: ContainerSelection): boolean {
  const { sandboxId, state, labels } = selection;
  return (
    isContainerVisible(container.status) &&
    (state === undefined || visibleState(container.status) === state) &&
    (sandboxId === undefined || container.sandboxId === sandboxId || isShortened(container, sandboxId)) &&
    hasLabels(container.config.labels, labels)
  );
}

function isShortened(container: Container, sandboxId: string): boolean {
  return sandboxId.length >= 4 && container.sandboxId.startsWith(sandboxId);
}

/** The four states of CRI. */
export function visibleState(status: ContainerStatus): VisibleState {
  switch (status.phase) {
    case "created":
    case "running":
    case "exited":
      return status.phase;
    case "creating":
    case "removing":
    case "unknown":
      return "unknown";
  }
}
