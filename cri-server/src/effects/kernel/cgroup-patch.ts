import type { Resources } from "../../model/resources.ts";

/** What is in force after an update: fields of the patch win, empty ones mean "as it is" (CRI UpdateContainerResources). */
export function mergeResources(before: Resources, patch: Resources): Resources {
  const given = Object.fromEntries(Object.entries(patch).filter(([, value]) => isGiven(value)));
  const pages = new Map((before.hugepageLimits ?? []).map((page) => [page.pageSize, page]));
  for (const page of patch.hugepageLimits ?? []) pages.set(page.pageSize, page);
  const unified = { ...before.unified, ...patch.unified };
  const { oomScoreAdj } = before;
  const { oomScoreAdj: _, ...rest } = { ...before, ...given } as Resources;
  return {
    ...rest,
    // It belongs to processes, not to the group: an update can't change it any more.
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
    ...(pages.size === 0 ? {} : { hugepageLimits: [...pages.values()] }),
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
  };
}

/**
 * The part of `after` whose files have to be written for this patch: what it names, and what shares a file with it (quota
 * and period on v2, memory and swap).
 */
export function patchOf(after: Resources, patch: Resources): Resources {
  const groups: readonly (readonly (keyof Resources)[])[] = [
    ["cpuShares"],
    ["cpuQuota", "cpuPeriod"],
    ["cpusetCpus"],
    ["cpusetMems"],
    ["memoryLimit", "memorySwapLimit"],
    ["pidsLimit"],
  ];
  const keys = groups.filter((group) => group.some((key) => isGiven(patch[key]))).flat();
  const entries = keys.flatMap((key) => (after[key] === undefined ? [] : [[key, after[key]]]));
  return {
    ...(Object.fromEntries(entries) as Resources),
    ...(patch.hugepageLimits === undefined ? {} : { hugepageLimits: patch.hugepageLimits }),
    ...(patch.unified === undefined ? {} : { unified: patch.unified }),
  };
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== "" && value !== 0n;
}
