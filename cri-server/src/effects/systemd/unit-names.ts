import { posix } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";

/**
 * The slice that a CRI cgroup_parent names. Clients give a path of slices, each in the one before; its last part says it
 * all, because a slice's name contains its ancestors'.
 */
export function sliceOf(cgroupParent: string, field: string): string {
  const name = posix.basename(cgroupParent);
  // systemd.slice(5): "-" separates levels; the root slice is "-.slice".
  const isSlice = name === "-.slice" || /^[A-Za-z0-9:_.\\@]+(-[A-Za-z0-9:_.\\@]+)*\.slice$/.test(name);
  if (!isSlice || name.length > 255) {
    throw new BerthError(
      "invalid-argument",
      `${field}: ${JSON.stringify(cgroupParent)} does not end in a slice's name, as the systemd cgroup driver needs it`,
    );
  }
  return name;
}

/** Where systemd puts a slice below the hierarchy's root: a-b.slice is /a.slice/a-b.slice. */
export function slicePath(slice: string): string {
  if (slice === "-.slice") return "";
  const parts = slice.slice(0, -".slice".length).split("-");
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("-")}.slice`).join("");
}

/** runtime.default_cgroup_parent as a slice: a path /a/b, as the other driver has it, is a-b.slice. */
export function defaultSlice(parent: string): string {
  if (parent.endsWith(".slice")) return sliceOf(parent, "runtime.default_cgroup_parent");
  const parts = parent.split("/").filter((part) => part !== "");
  return sliceOf(`${parts.join("-") || "-"}.slice`, "runtime.default_cgroup_parent");
}

export function scopeName(sandboxId: string): string {
  return `berth-${sandboxId}.scope`;
}
