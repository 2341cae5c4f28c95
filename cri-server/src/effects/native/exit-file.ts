import type { ExitRecord } from "../../ports/monitor.ts";

/**
 * Reads what native/monitor/exit_record.c wrote: one line of JSON, version 1. Undefined when it is not a whole record; the
 * file is renamed into place only when it is complete, so that means a damaged disk.
 */
export function parseExitFile(text: string): ExitRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const record: Readonly<Record<string, unknown>> = { ...value };
  const { version, containerId, exitCode, oomKilled, startedAt, finishedAt } = record;
  if (version !== 1 || typeof containerId !== "string" || typeof oomKilled !== "boolean") return undefined;
  if (typeof exitCode !== "number" || !Number.isInteger(exitCode) || exitCode < 0 || exitCode > 255)
    return undefined;
  if (!isNanoseconds(startedAt) || !isNanoseconds(finishedAt)) return undefined;
  return { containerId, exitCode, oomKilled, startedAt: BigInt(startedAt), finishedAt: BigInt(finishedAt) };
}

function isNanoseconds(value: unknown): value is string {
  return typeof value === "string" && /^\d{1,20}$/.test(value);
}
