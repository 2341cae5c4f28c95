import type { Sandbox } from "../../model/sandbox.ts";
import type { LifecycleDeps } from "../deps.ts";

type Deps = Pick<LifecycleDeps, "cgroups" | "locks" | "objects">;

/** A pod's cgroup parent as it is now. */
export interface EnsuredParent {
  /** Those that belong to Berth, parents first. */
  readonly directories: readonly string[];
  /** Some of them were made just now, so that no record names them yet. */
  readonly isNew: boolean;
}

/** One lock for all: making and removing parents would else race for shared ones such as the default parent. */
const lockKey = "cgroup parents";

/**
 * Makes a pod's cgroup parent. Resolves with the directories that belong to Berth: those made now, and those that an
 * earlier pod below the same parent has made, so that whoever goes last removes them.
 */
export async function ensureCgroupParent(deps: Deps, sandbox: Sandbox): Promise<EnsuredParent> {
  return await deps.locks.run(lockKey, async () => {
    const made = await deps.cgroups.ensureParent(sandbox.cgroupParent);
    const inherited = others(deps, sandbox).flatMap((other) => other.status.cgroupDirs ?? []);
    return { directories: [...new Set([...inherited, ...made])], isNew: made.length > 0 };
  });
}

/** Removes the directories that Berth made for a pod, unless another pod is below the same parent. */
export async function removeCgroupParent(
  deps: Deps,
  sandbox: Sandbox,
  directories: readonly string[],
): Promise<void> {
  if (directories.length === 0) {
    return;
  }
  await deps.locks.run(lockKey, async () => {
    // Pods that are being removed don't count: of two that go at once, each would leave it to the other. Whoever is
    // not the last finds the directories in use.
    if (others(deps, sandbox).every(({ status }) => status.phase === "removing")) {
      await deps.cgroups.removeParent(directories);
    }
  });
}

/** Removes the group if it is the default parent, Berth's own, and no pod has it: the record of who made it is gone. */
export async function removeDefaultParent(deps: Deps, path: string): Promise<void> {
  await deps.locks.run(lockKey, async () => {
    const isUsed = [...deps.objects.pods()].some(({ sandbox }) => sandbox.cgroupParent === path);
    if (!isUsed && path === deps.cgroups.resolveParent("", "")) {
      await deps.cgroups.removeParent(deps.cgroups.joining(path).join);
    }
  });
}

function others(deps: Deps, sandbox: Sandbox): readonly Sandbox[] {
  const found: Sandbox[] = [];
  for (const { sandbox: other } of deps.objects.pods()) {
    if (other.id !== sandbox.id && other.cgroupParent === sandbox.cgroupParent) {
      found.push(other);
    }
  }
  return found;
}
