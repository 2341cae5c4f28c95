import type { Sandbox } from "../../model/sandbox.ts";
import { hasLabels } from "../labels.ts";
import type { Objects, PodEntry } from "../objects.ts";
import { isSandboxVisible } from "../objects.ts";

/** All given conditions have to hold. */
export interface SandboxSelection {
  /** Whole, or the start of one. */
  readonly id?: string;
  readonly isReady?: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

/** The matching sandboxes, from memory. */
export function selectSandboxes(objects: Objects, selection: SandboxSelection): readonly Sandbox[] {
  return selectPods(objects, selection).map((entry) => entry.sandbox);
}

/** As selectSandboxes, with what is in memory beside the record. */
export function selectPods(objects: Objects, selection: SandboxSelection): readonly PodEntry[] {
  const found: PodEntry[] = [];
  for (const entry of candidates(objects, selection.id)) {
    const { sandbox } = entry;
    const { phase } = sandbox.status;
    const matches =
      isSandboxVisible(sandbox.status) &&
      (selection.isReady === undefined || selection.isReady === (phase === "ready")) &&
      hasLabels(sandbox.config.labels, selection.labels);
    if (matches) {
      found.push(entry);
    }
  }
  return found;
}

function candidates(objects: Objects, id: string | undefined): Iterable<PodEntry> {
  if (id === undefined) {
    return objects.pods();
  }
  const entry = objects.findPod(id);
  return entry === undefined ? [] : [entry];
}
