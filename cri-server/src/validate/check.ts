import { BerthError } from "../errors/berth-error.ts";

/** Says what is wrong with a value, naming field and value; undefined when nothing is. */
export type Check<T> = (value: T) => string | undefined;

/** Runs an ordered table of checks; the first complaint is the error. */
export function runChecks<T>(value: T, checks: readonly Check<T>[]): void {
  for (const check of checks) {
    const complaint = check(value);
    if (complaint !== undefined) {
      throw new BerthError("invalid-argument", complaint);
    }
  }
}

/** The error of a value that can't be meant. Long values are cut. */
export function invalid(field: string, value: unknown, why: string): BerthError {
  return new BerthError("invalid-argument", complain(field, value, why));
}

/** `field "value": why`, in one form for all messages. */
export function complain(field: string, value: unknown, why: string): string {
  const shown =
    typeof value === "bigint" || typeof value === "number"
      ? String(value)
      : (JSON.stringify(value) ?? String(value));
  const cut = shown.length > 200 ? `${shown.slice(0, 200)}...` : shown;
  return `${field} ${cut}: ${why}`;
}

/** The message, or an error when a required one is missing. */
export function required<T>(value: T | undefined, field: string): T {
  if (value === undefined) {
    throw new BerthError("invalid-argument", `${field}: is missing`);
  }
  return value;
}

/** Characters that end a string, a line or a record somewhere below us. */
export function hasControl(text: string): boolean {
  return /[\0\r\n]/.test(text);
}

/** `..` as a whole part of a path. */
export function climbs(path: string): boolean {
  return path.split("/").includes("..");
}

/** A complaint about an absolute path; "" has to be ruled out by the caller where it is allowed. */
export function absolutePath(field: string, path: string): string | undefined {
  if (!path.startsWith("/")) {
    return complain(field, path, "not an absolute path");
  }
  if (hasControl(path)) {
    return complain(field, path, "has a NUL or a line break in it");
  }
  return Buffer.byteLength(path) > 4095 ? complain(field, path, "longer than 4095 bytes") : undefined;
}
