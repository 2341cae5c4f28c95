import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../../errors/berth-error.ts";
import type { RetryQueue } from "../../lib/retry-queue.ts";
import type { FindingOutcome } from "../../model/finding.ts";
import { type Defect, type FsckDeps, keyOf } from "./defect.ts";
import { orphanDefects } from "./orphans.ts";
import { podDefects } from "./pods.ts";

/** Pods come and go while one looks: what shows twice, this far apart, is no passing state. */
const settleMs = 500;
/** How long a repair may take to show: a killed container has to be reported and its group to be emptied. */
const repairLimitMs = 5000;

/**
 * Compares records, kernel and store. Only looks, unless `repair` is set; then each finding that can be is put right, and looked
 * for again.
 */
export async function fsck(deps: FsckDeps, repair: boolean): Promise<readonly FindingOutcome[]> {
  const first = new Set((await look(deps)).map(keyOf));
  await sleep(settleMs);
  const found = (await look(deps)).filter((defect) => first.has(keyOf(defect)));
  if (!repair) {
    return found.map((defect) => outcomeOf(defect, defect.repair === undefined ? "manual" : "repairable"));
  }
  const errors = new Map<string, string>();
  for (const defect of found) {
    const error = await attempt(defect);
    if (error !== undefined) {
      errors.set(keyOf(defect), error);
      deps.log.warn({ subject: defect.subject, what: defect.what, error }, "a repair failed");
    } else if (defect.repair !== undefined) {
      deps.log.info({ subject: defect.subject, what: defect.what }, "repaired");
    }
  }
  return await verified(deps, found, errors);
}

async function look(deps: FsckDeps): Promise<readonly Defect[]> {
  const found: Defect[] = [...stuckWork(deps.background), ...(await orphanDefects(deps))];
  for (const pod of [...deps.objects.pods()]) {
    found.push(...(await podDefects(deps, pod)));
  }
  return found;
}

function stuckWork(background: Pick<RetryQueue, "failing">): readonly Defect[] {
  return background.failing().map(({ key, error }) => ({
    kind: "stuck",
    subject: key,
    what: `fails: ${error instanceof Error ? error.message : String(error)}`,
    remedy: "it is tried again by itself, at least twice a minute; the log has the cause",
  }));
}

async function attempt(defect: Defect): Promise<string | undefined> {
  try {
    await defect.repair?.();
    return undefined;
  } catch (error) {
    return error instanceof BerthError || error instanceof Error ? error.message : String(error);
  }
}

/** Nothing is taken for repaired that still shows. */
async function verified(
  deps: FsckDeps,
  found: readonly Defect[],
  errors: ReadonlyMap<string, string>,
): Promise<readonly FindingOutcome[]> {
  const isRepairable = (defect: Defect): boolean => defect.repair !== undefined && !errors.has(keyOf(defect));
  let left = new Set(found.filter(isRepairable).map(keyOf));
  for (const end = performance.now() + repairLimitMs; left.size > 0 && performance.now() < end; ) {
    const now = new Set((await look(deps)).map(keyOf));
    left = new Set([...left].filter((key) => now.has(key)));
    if (left.size > 0) {
      await sleep(200);
    }
  }
  return found.map((defect) => {
    const key = keyOf(defect);
    const error = errors.get(key);
    if (error !== undefined) {
      return { ...outcomeOf(defect, "failed"), failure: error };
    }
    if (defect.repair === undefined) {
      return outcomeOf(defect, "manual");
    }
    return left.has(key)
      ? { ...outcomeOf(defect, "failed"), failure: "it still shows" }
      : outcomeOf(defect, "repaired");
  });
}

function outcomeOf(
  { kind, subject, what, remedy }: Defect,
  outcome: FindingOutcome["outcome"],
): FindingOutcome {
  return { kind, subject, what, remedy, outcome };
}
