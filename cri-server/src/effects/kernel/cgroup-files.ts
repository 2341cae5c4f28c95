import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../../errors/berth-error.ts";

export function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

/** Makes one group; false when it is there already. */
export async function makeGroup(directory: string): Promise<boolean> {
  // Most are there, and to look waits for no disk: a tenth of what it takes to have the thread pool told so.
  if (existsSync(directory)) return false;
  try {
    await mkdir(directory);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw new BerthError("internal", `cgroup ${directory}: mkdir: ${errnoOf(error)}`, { cause: error });
  }
}

/** Every group on the way from `mountpoint` to `path`, without the root. */
export function groupsTo(mountpoint: string, path: string): readonly string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return parts.map((_, index) => posix.join(mountpoint, ...parts.slice(0, index + 1)));
}

/**
 * Removes a group and those below it. A group whose last process has just died stays busy until the kernel has reaped it,
 * so EBUSY is tried again for about a second.
 */
export async function removeGroup(directory: string): Promise<void> {
  for (let wait = 1, left = 1200; ; left -= wait, wait = Math.min(wait * 2, 100)) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      const code = errnoOf(error);
      if (code === "ENOENT") return;
      if (code !== "EBUSY" && code !== "ENOTEMPTY") {
        throw new BerthError("internal", `cgroup ${directory}: rmdir: ${code}`, { cause: error });
      }
      await removeChildren(directory);
      if (left <= 0) {
        throw new BerthError("internal", `cgroup ${directory}: still busy after a second`, { cause: error });
      }
      await sleep(wait);
    }
  }
}

async function removeChildren(directory: string): Promise<void> {
  for (const child of await childGroups(directory)) {
    await removeChildren(child);
    try {
      await rmdir(child);
    } catch (error) {
      if (!["ENOENT", "EBUSY", "ENOTEMPTY"].includes(errnoOf(error))) throw error;
    }
  }
}

/** The groups directly below; none when the group is gone. */
export async function childGroups(directory: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => posix.join(directory, entry.name));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** The processes of a group and of all below it. */
export async function processesOf(directory: string): Promise<readonly number[]> {
  const own = await readGroupFile(posix.join(directory, "cgroup.procs"));
  const below = await Promise.all((await childGroups(directory)).map(processesOf));
  const pids = (own ?? "").split("\n").filter((line) => line !== "" && line !== "0");
  return [...pids.map(Number), ...below.flat()];
}

/** A group's file; undefined when it (or the group) is missing. */
export async function readGroupFile(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "latin1");
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT" || code === "ENODEV" || code === "EOPNOTSUPP") return undefined;
    throw error;
  }
}

export interface FileWrite {
  readonly path: string;
  readonly value: string;
  /** The client's field for an error; undefined: a failure is passed over. */
  readonly field: string | undefined;
}

/**
 * Writes all values in order or none: when one is refused, those before it get their old values back, last first. Returns
 * nothing; throws `invalid-argument` naming the field.
 */
export async function writeAllOrNone(writes: readonly FileWrite[]): Promise<void> {
  const undo: { readonly path: string; readonly value: string }[] = [];
  for (const { path, value, field } of writes) {
    try {
      const old = await readFile(path, "latin1");
      await writeFile(path, value);
      undo.push({ path, value: old.trimEnd() });
    } catch (error) {
      if (field === undefined) continue;
      const failures = await restore(undo);
      const code = errnoOf(error);
      const left = failures.length === 0 ? "" : `; and not restored: ${failures.join(", ")}`;
      throw new BerthError(
        "invalid-argument",
        `resources.${field}: ${JSON.stringify(value)} was refused by ${posix.basename(path)} (${code})${left}`,
        { cause: error },
      );
    }
  }
}

async function restore(
  undo: readonly { readonly path: string; readonly value: string }[],
): Promise<string[]> {
  const failures: string[] = [];
  for (const { path, value } of undo.toReversed()) {
    try {
      // Some files show an empty list for "inherit", which an empty write means too, but a write of no bytes is none.
      await writeFile(path, value === "" ? "\n" : value);
    } catch (error) {
      failures.push(`${posix.basename(path)} (${errnoOf(error)})`);
    }
  }
  return failures;
}

/** SIGKILL; a process that has gone meanwhile is what was wanted. Only right where a frozen group keeps pids from being reused. */
export function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (errnoOf(error) !== "ESRCH") throw error;
  }
}

/** rmdir, unless something else uses the group by now. */
export async function removeIfUnused(directory: string): Promise<void> {
  try {
    await rmdir(directory);
  } catch (error) {
    if (["ENOENT", "EBUSY", "ENOTEMPTY"].includes(errnoOf(error))) return;
    throw new BerthError("internal", `cgroup ${directory}: rmdir: ${errnoOf(error)}`, { cause: error });
  }
}

/** Turns a CRI cgroup_parent into a path below the hierarchies' roots. */
export function resolveCgroupParent(cgroupParent: string, fallback: string): string {
  const wanted = cgroupParent === "" ? fallback : cgroupParent;
  if (wanted.includes("\0") || wanted.includes("\n") || wanted.split("/").includes("..")) {
    throw new BerthError(
      "invalid-argument",
      `linux.cgroup_parent: ${JSON.stringify(cgroupParent)} is not a group`,
    );
  }
  return posix.normalize(`/${wanted}`).replace(/(.)\/$/, "$1");
}
