import type { Sandbox } from "../../model/sandbox.ts";
import { hasLabels } from "../labels.ts";
import type { Objects } from "../objects.ts";
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
  const found: Sandbox[] = [];
  for (const { sandbox } of candidates(objects, selection.id)) {
    const { phase } = sandbox.status;
    const matches =
      isSandboxVisible(sandbox.status) &&
      (selection.isReady === undefined || selection.isReady === (phase === "ready")) &&
      hasLabels(sandbox.config.labels, selection.labels);
    if (matches) {
      found.push(sandbox);
    }
  }
  return found;
}

function candidates(objects: Objects, id: string | undefined): Iterable<{ readonly sandbox: Sandbox }> {
  if (id === undefined) {
    return objects.pods();
  }
  const entry = objects.findPod(id);
  return entry === undefined ? [] : [entry];
}
