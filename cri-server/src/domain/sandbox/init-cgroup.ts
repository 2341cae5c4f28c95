import type { Sandbox } from "../../model/sandbox.ts";

/** Where a pod's own init is, when its containers share a PID namespace. */
export function initCgroupPath(sandbox: Sandbox): string {
  return `${sandbox.cgroupParent === "/" ? "" : sandbox.cgroupParent}/${sandbox.id}`;
}
