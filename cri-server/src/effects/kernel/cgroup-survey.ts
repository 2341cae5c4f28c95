import { posix } from "node:path";
import type { IdGroup } from "../../ports/cgroups.ts";
import { childGroups, processesOf } from "./cgroup-files.ts";

/** Those of `directories` in which, and below which, the process is not. */
export async function directoriesWithout(
  directories: readonly string[],
  pid: number,
): Promise<readonly string[]> {
  const members = await Promise.all(directories.map(processesOf));
  return directories.filter((_, index) => !members[index]?.includes(pid));
}

/** Groups are named for a container or sandbox, scopes of the systemd driver for a sandbox. */
const ofId = /^(?:berth-)?([0-9a-f]{64})(?:\.scope)?$/;

/** The groups directly below these paths that are named for an id of ours, in whichever hierarchy. */
export async function groupsOfIds(
  mountpoints: readonly string[],
  parents: readonly string[],
): Promise<readonly IdGroup[]> {
  const found = new Map<string, string>();
  for (const parent of new Set(parents)) {
    for (const mountpoint of mountpoints) {
      for (const directory of await childGroups(posix.join(mountpoint, parent))) {
        const name = posix.basename(directory);
        const id = ofId.exec(name)?.[1];
        if (id !== undefined) found.set(posix.join("/", parent, name), id);
      }
    }
  }
  return [...found].map(([path, id]) => ({ path, id }));
}
