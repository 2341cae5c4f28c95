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

/** A repair may bring to light what it hid: the pins of a monitor that nobody knew, for example. */
const maxRounds = 3;

/**
 * Compares records, kernel and store. Only looks, unless `repair` is set; then each finding that can be is put right, and looked
 * for again.
 */
export async function fsck(deps: FsckDeps, repair: boolean): Promise<readonly FindingOutcome[]> {
  const found = await lookTwice(deps);
  if (!repair) {
    return found.map((defect) => outcomeOf(defect, defect.repair === undefined ? "manual" : "repairable"));
  }
  const outcomes = new Map<string, FindingOutcome>();
  let fresh = found;
  for (let round = 0; round < maxRounds && fresh.length > 0; round++) {
    for (const [key, outcome] of await repairAll(deps, fresh)) {
      outcomes.set(key, outcome);
    }
    fresh = (await lookTwice(deps)).filter((defect) => !outcomes.has(keyOf(defect)));
  }
  return [...outcomes.values()];
}

async function lookTwice(deps: FsckDeps): Promise<readonly Defect[]> {
  const first = new Set((await look(deps)).map(keyOf));
  await sleep(settleMs);
  return (await look(deps)).filter((defect) => first.has(keyOf(defect)));
}

async function repairAll(
  deps: FsckDeps,
  found: readonly Defect[],
): Promise<ReadonlyMap<string, FindingOutcome>> {
  const errors = new Map<string, string>();
  for (const defect of found) {
    const { subject, what } = defect;
    const error = await attempt(defect);
    if (error !== undefined) {
      errors.set(keyOf(defect), error);
      deps.log.warn({ subject, what, error }, "a repair failed");
    } else if (defect.repair !== undefined) {
      deps.log.info({ subject, what }, "repaired");
    }
  }
  return await verified(deps, found, errors);
}

/** A stopped monitor costs seconds, and a hundred of them should not cost minutes. */
const podsAtOnce = 8;

async function look(deps: FsckDeps): Promise<readonly Defect[]> {
  const found: Defect[] = [...stuckWork(deps.background), ...(await orphanDefects(deps))];
  const pods = [...deps.objects.pods()];
  while (pods.length > 0) {
    const some = pods.splice(0, podsAtOnce);
    found.push(...(await Promise.all(some.map((pod) => podDefects(deps, pod)))).flat());
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
): Promise<ReadonlyMap<string, FindingOutcome>> {
  const isRepairable = (defect: Defect): boolean => defect.repair !== undefined && !errors.has(keyOf(defect));
  let left = new Set(found.filter(isRepairable).map(keyOf));
  for (const end = performance.now() + repairLimitMs; left.size > 0 && performance.now() < end; ) {
    const now = new Set((await look(deps)).map(keyOf));
    left = new Set([...left].filter((key) => now.has(key)));
    if (left.size > 0) {
      await sleep(200);
    }
  }
  return new Map(found.map((defect) => [keyOf(defect), judged(defect, errors, left)]));
}

function judged(
  defect: Defect,
  errors: ReadonlyMap<string, string>,
  left: ReadonlySet<string>,
): FindingOutcome {
  const key = keyOf(defect);
  const failure = errors.get(key) ?? (left.has(key) ? "it still shows" : undefined);
  if (failure !== undefined) {
    return { ...outcomeOf(defect, "failed"), failure };
  }
  return outcomeOf(defect, defect.repair === undefined ? "manual" : "repaired");
}

function outcomeOf(
  { kind, subject, what, remedy }: Defect,
  outcome: FindingOutcome["outcome"],
): FindingOutcome {
  return { kind, subject, what, remedy, outcome };
}
