import { readFileSync } from "node:fs";
import { hasNat } from "../lib/kernel.ts";

/** What some specs need of the kernel; expectations.json names these, the reasons are for whoever reads the result. */
interface Need {
  readonly name: string;
  readonly reason: string;
  readonly isHere: () => boolean;
}

const needs: readonly Need[] = [
  {
    name: "AppArmor",
    reason: "AppArmor is not in this kernel, or off; hack/vm cloud boots one that has it",
    isHere: () => tryRead("/sys/module/apparmor/parameters/enabled").startsWith("Y"),
  },
  {
    name: "NAT",
    reason: "nf_tables knows no IP here (user-mode Linux is built so): no host port can lead to a pod",
    isHere: () => hasNat,
  },
];

/** The needs that this kernel does not meet, with the reason why. */
export function missingNeeds(): ReadonlyMap<string, string> {
  return new Map(needs.filter(({ isHere }) => !isHere()).map(({ name, reason }) => [name, reason]));
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
