import type { LimitInForce } from "../../ports/cgroups.ts";
import type { ControllerWrite } from "./cgroup-values.ts";

/** The kernel keeps limits of memory in whole pages. */
const pageSize = 4096n;
/** What "no limit" is on v1: the largest number of pages that fit. */
const unlimitedFrom = 0x7fff_ffff_ffff_0000n;

/** Each value that is wanted beside the one that the kernel has; `read` gives a file's text, undefined when it is missing. */
export function limitsInForce(
  writes: readonly ControllerWrite[],
  read: (controller: string, file: string) => string | undefined,
): readonly LimitInForce[] {
  return writes.map(({ controller, file, value, field }) => {
    const inForce = read(controller, file)?.trim();
    // What nobody asked for by name is left out where this machine has no file for it.
    const differs = inForce === undefined ? field !== undefined : !isSame(value, inForce);
    return { file, wanted: value, inForce, differs };
  });
}

/** Whether the kernel's text says what was written, in its own words. */
export function isSame(wanted: string, inForce: string): boolean {
  if (wanted === inForce) return true;
  const before = wanted.split(/\s+/);
  // A value that was written without its second part (a quota without a period) leaves that as it is.
  const now = inForce.split(/\s+/).slice(0, before.length);
  return before.length === now.length && before.every((word, index) => isSameWord(word, now[index] ?? ""));
}

function isSameWord(wanted: string, inForce: string): boolean {
  if (wanted === inForce) return true;
  if (isUnlimited(wanted)) return isUnlimited(inForce);
  if (/^\d+$/.test(wanted) && /^\d+$/.test(inForce)) {
    const bytes = BigInt(wanted);
    return bytes - (bytes % pageSize) === BigInt(inForce);
  }
  return /^[\d,-]+$/.test(wanted) && expand(wanted).join() === expand(inForce).join();
}

function isUnlimited(word: string): boolean {
  return word === "max" || word === "-1" || (/^\d+$/.test(word) && BigInt(word) >= unlimitedFrom);
}

/** "0-2,5" as 0, 1, 2, 5. */
function expand(list: string): readonly number[] {
  return list
    .split(",")
    .flatMap((part) => {
      const [first = 0, last = first] = part.split("-").map(Number);
      return Array.from(
        { length: Math.min(Math.max(last - first + 1, 0), 8192) },
        (_, index) => first + index,
      );
    })
    .toSorted((a, b) => a - b);
}
