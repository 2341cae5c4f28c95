import type { MonitorExplanation } from "../../model/explanation.ts";
import type { MonitoredContainer } from "../../ports/monitor.ts";
import type { PodEntry } from "../objects.ts";
import type { ExplainDeps } from "./deps.ts";

/** A monitor answers within a millisecond; one that is stopped never does. */
const answerLimitMs = 2000;

/** What there is of a pod's monitor; undefined when the record names none. */
export async function explainMonitor(
  deps: Pick<ExplainDeps, "inspection">,
  { sandbox, monitor }: PodEntry,
): Promise<MonitorExplanation | undefined> {
  const recorded = sandbox.status.monitor ?? monitor?.process;
  if (recorded === undefined) {
    return undefined;
  }
  const process = await deps.inspection.process(recorded.pid);
  // A pid may have been used again.
  const alive = process !== undefined && process.startTime === recorded.startTime && process.state !== "Z";
  const started = performance.now();
  const answer = monitor === undefined ? undefined : await withinLimit(monitor.list());
  return {
    pid: recorded.pid,
    alive,
    connected: monitor !== undefined,
    ...(answer === undefined ? {} : { answeredMs: Math.round((performance.now() - started) * 100) / 100 }),
    ...(alive ? { residentBytes: process.residentBytes } : {}),
    knows: Object.fromEntries((answer ?? []).map(({ containerId, state }) => [containerId, state])),
  };
}

/** undefined: no answer in time, or the monitor has gone. */
async function withinLimit(
  answer: Promise<readonly MonitoredContainer[]>,
): Promise<readonly MonitoredContainer[] | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), answerLimitMs);
  try {
    return await Promise.race([answer.catch(() => undefined), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What is wrong with a monitor that a living pod needs. */
export function monitorProblems(monitor: MonitorExplanation | undefined): readonly string[] {
  if (monitor === undefined) {
    return ["the pod has no monitor"];
  }
  if (!monitor.alive) {
    return [`its monitor (pid ${monitor.pid}) is gone`];
  }
  if (!monitor.connected) {
    return [`its monitor (pid ${monitor.pid}) is not connected`];
  }
  return monitor.answeredMs === undefined
    ? [`its monitor (pid ${monitor.pid}) does not answer within ${answerLimitMs / 1000} s`]
    : [];
}
