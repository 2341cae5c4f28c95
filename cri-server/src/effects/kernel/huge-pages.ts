import { readdir } from "node:fs/promises";
import { errnoOf } from "./cgroup-files.ts";

/** The page sizes of this machine as hugetlb's files call them. */
export async function readHugePageSizes(): Promise<readonly string[]> {
  try {
    const directories = await readdir("/sys/kernel/mm/hugepages");
    return directories.flatMap((directory) => hugePageName(directory) ?? []);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** hugepages-2048kB is 2MB. */
export function hugePageName(directory: string): string | undefined {
  const kilobytes = Number(/^hugepages-([0-9]+)kB$/.exec(directory)?.[1] ?? Number.NaN);
  if (!Number.isInteger(kilobytes)) return undefined;
  if (kilobytes >= 1 << 20) return `${kilobytes >> 20}GB`;
  return kilobytes >= 1 << 10 ? `${kilobytes >> 10}MB` : `${kilobytes}KB`;
}
