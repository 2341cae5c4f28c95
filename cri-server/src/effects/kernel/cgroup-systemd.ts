import { writeFile } from "node:fs/promises";
import { posix } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { SystemdUnits, UnitProperty } from "../systemd/systemd-manager.ts";
import { defaultSlice, scopeName, sliceOf, slicePath } from "../systemd/unit-names.ts";
import { childGroups, errnoOf, groupsTo, makeGroup, removeIfUnused } from "./cgroup-files.ts";
import type { CgroupSettings } from "./cgroup2.ts";
import { CgroupsV2, delegate } from "./cgroup2.ts";

/** D-Bus's form of "infinity" for limits. */
const infinity = (1n << 64n) - 1n;

/** The monitor's own group in a pod's scope: on v2 a group that hands controllers on has no processes itself. */
const monitorGroup = "monitor";

/**
 * cgroup v2 on a host whose groups systemd manages. Each pod is one scope, berth-<sandbox id>.scope, in the slice that the
 * kubelet made for it; the pod's monitor is the process that makes it live and end. The scope is delegated: what is below is
 * ours, and systemd never touches it, not even on daemon-reload. So containers are plain groups in it, made and limited
 * as on a host without systemd, and their first process is still cloned straight into its group, where a scope for each
 * container would need a process to be moved (11-15 ms) and each limit to be told twice.
 */
export class CgroupsSystemd extends CgroupsV2 {
  override readonly driver = "systemd";
  readonly #mountpoint: string;
  readonly #defaultSlice: string;
  readonly #units: SystemdUnits;

  constructor(mountpoint: string, settings: CgroupSettings, units: SystemdUnits) {
    super(mountpoint, settings);
    this.#mountpoint = mountpoint;
    this.#defaultSlice = defaultSlice(settings.defaultParent);
    this.#units = units;
  }

  override resolveParent(cgroupParent: string, sandboxId: string): string {
    const slice = cgroupParent === "" ? this.#defaultSlice : sliceOf(cgroupParent, "linux.cgroup_parent");
    return `${slicePath(slice)}/${scopeName(sandboxId)}`;
  }

  /**
   * The directories only: systemd takes over what it finds. A pod with a PID namespace of its own has its first process
   * below the scope before the monitor is known that makes it one.
   */
  override async ensureParent(path: string): Promise<readonly string[]> {
    const made: string[] = [];
    for (const directory of groupsTo(this.#mountpoint, path)) {
      if (await makeGroup(directory)) made.push(directory);
    }
    return made;
  }

  /** The slice around the scopes. */
  protected override get defaultParent(): string {
    return slicePath(this.#defaultSlice);
  }

  override async enclose(path: string, pid: number): Promise<void> {
    const scope = posix.join(this.#mountpoint, path);
    const slice = posix.basename(posix.dirname(path));
    await this.#units.startScope({
      name: posix.basename(path),
      slice: slice === "" ? "-.slice" : slice,
      pid,
      properties: slice === "" ? properties : [...properties, ...protection],
    });
    const group = posix.join(scope, monitorGroup);
    await makeGroup(group);
    try {
      await writeFile(posix.join(group, "cgroup.procs"), String(pid));
    } catch (error) {
      throw new BerthError("internal", `cgroup ${group}: pid ${pid}: ${errnoOf(error)}`, { cause: error });
    }
    // systemd enables what it knows of; hugetlb, rdma and misc it leaves alone.
    await delegate(this.#mountpoint);
    for (const directory of groupsTo(this.#mountpoint, path)) await delegate(directory);
  }

  /** The scope has ended with its last process, unless one was left; slices end here if they were made here. */
  override async removeParent(made: readonly string[]): Promise<void> {
    const own = posix.join(this.#mountpoint, slicePath(this.#defaultSlice));
    // Pods of the default slice come and go; the record of who made it is long gone.
    const isOwn = made.some((directory) => directory.startsWith(`${own}/`));
    const all = new Set(isOwn && own !== this.#mountpoint ? [own, ...made] : made);
    for (const directory of [...all].toSorted((a, b) => b.length - a.length)) {
      const name = posix.basename(directory);
      if (name.endsWith(".slice") && (await childGroups(directory)).length > 0) continue;
      await this.#units.stop(name);
      await removeIfUnused(directory);
    }
  }
}

const properties: readonly UnitProperty[] = [
  { name: "Description", signature: "s", value: "Berth pod" },
  { name: "Delegate", signature: "b", value: true },
  // Ends with its pod, after the kubelet had its say, and not with the first things of a shutdown.
  { name: "DefaultDependencies", signature: "b", value: false },
  { name: "CollectMode", signature: "s", value: "inactive-or-failed" },
  // Who stops the scope means its containers. The monitor goes last, by force, when it has written how they ended.
  { name: "TimeoutStopUSec", signature: "t", value: 10_000_000n },
  // Scopes have DefaultTasksMax otherwise; what bounds a pod is the slice around it and the groups inside.
  { name: "TasksMax", signature: "t", value: infinity },
];

/** The kernel protects a group's memory only as far as the group around it is protected: the scope hands on all of it. */
const protection: readonly UnitProperty[] = [
  { name: "MemoryMin", signature: "t", value: infinity },
  { name: "MemoryLow", signature: "t", value: infinity },
];
