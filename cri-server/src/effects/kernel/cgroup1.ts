import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BerthError } from "../../errors/berth-error.ts";
import type { CgroupPlan } from "../../model/plan.ts";
import type { Resources } from "../../model/resources.ts";
import type {
  CgroupDetails,
  CgroupRequest,
  Cgroups,
  CgroupUsage,
  CgroupView,
  DeviceRule,
  IdGroup,
  LimitInForce,
} from "../../ports/cgroups.ts";
import { detailsV1 } from "./cgroup-details.ts";
import type { FileWrite } from "./cgroup-files.ts";
import {
  errnoOf,
  groupsTo,
  killQuietly,
  makeGroup,
  processesOf,
  readGroupFile,
  removeGroup,
  removeIfUnused,
  resolveCgroupParent,
  writeAllOrNone,
} from "./cgroup-files.ts";
import type { Hierarchy } from "./cgroup-layout.ts";
import { limitsInForce } from "./cgroup-limits.ts";
import { mergeResources, patchOf } from "./cgroup-patch.ts";
import { directoriesWithout, groupsOfIds } from "./cgroup-survey.ts";
import { usageV1 } from "./cgroup-usage.ts";
import { valuesV1 } from "./cgroup-values.ts";
import type { CgroupSettings } from "./cgroup2.ts";
import { tryReadKernelFile } from "./libc.ts";

/** cgroup v1: the same path in every hierarchy that is mounted, whichever those are. */
export class CgroupsV1 implements Cgroups {
  readonly version = 1;
  readonly driver = "cgroupfs";
  readonly #hierarchies: readonly Hierarchy[];
  readonly #byController: ReadonlyMap<string, string>;
  readonly #settings: CgroupSettings;

  constructor(hierarchies: readonly Hierarchy[], settings: CgroupSettings) {
    this.#hierarchies = hierarchies;
    this.#byController = new Map(
      hierarchies.flatMap(({ controllers, mountpoint }) => controllers.map((name) => [name, mountpoint])),
    );
    this.#settings = settings;
  }

  resolveParent(cgroupParent: string, _sandboxId: string): string {
    return resolveCgroupParent(cgroupParent, this.#settings.defaultParent);
  }

  async ensureParent(path: string): Promise<readonly string[]> {
    const made = await Promise.all(
      this.#hierarchies.map(async ({ mountpoint, controllers }) => {
        const own: string[] = [];
        if (isWhole(mountpoint, path, controllers)) return own;
        for (const directory of groupsTo(mountpoint, path)) {
          if (await makeGroup(directory)) own.push(directory);
          if (controllers.includes("cpuset")) await inheritCpuset(directory);
        }
        return own;
      }),
    );
    return made.flat();
  }

  async enclose(_path: string, _pid: number): Promise<void> {}

  async plan(request: CgroupRequest): Promise<CgroupPlan> {
    const directories = this.#hierarchies.map(({ mountpoint }) => posix.join(mountpoint, request.path));
    const { resources } = request;
    const writes = [
      ...this.#inheritedCpuset(request.path, resources),
      ...this.#writes(request.path, resources).map(({ path, value, field }) => ({
        path,
        value,
        optional: field === undefined,
      })),
      ...this.#deviceWrites(request.path, request.devices),
    ];
    const memory = this.#byController.get("memory");
    return {
      version: 1,
      mkdirs: directories,
      writes,
      join: directories,
      oomFile: memory === undefined ? "" : posix.join(memory, request.path, "memory.oom_control"),
      deviceProgramFd: undefined,
    };
  }

  joining(path: string): Pick<CgroupPlan, "version" | "join"> {
    return { version: 1, join: this.#hierarchies.map(({ mountpoint }) => posix.join(mountpoint, path)) };
  }

  view(path: string): CgroupView {
    return {
      version: 1,
      hierarchies: this.#hierarchies.map(({ name, mountpoint }) => ({
        name,
        source: posix.join(mountpoint, path),
      })),
      links: this.#hierarchies.flatMap(({ name, controllers }) =>
        controllers
          .filter((controller) => controller !== name)
          .map((controller) => ({ name: controller, to: name })),
      ),
    };
  }

  async update(path: string, before: Resources, patch: Resources): Promise<Resources> {
    const after = mergeResources(before, patch);
    const writes = this.#writes(path, patchOf(after, patch));
    await writeAllOrNone(this.#cpuOrdered(path, this.#memoryOrdered(path, writes)));
    return after;
  }

  limits(path: string, resources: Resources): readonly LimitInForce[] {
    return limitsInForce(valuesV1(resources), (controller, file) => this.#read(controller, path, file));
  }

  groupsWithout(path: string, pid: number): Promise<readonly string[]> {
    return directoriesWithout(this.joining(path).join, pid);
  }

  groupsOfIds(parents: readonly string[]): Promise<readonly IdGroup[]> {
    const mountpoints = this.#hierarchies.map(({ mountpoint }) => mountpoint);
    return groupsOfIds(mountpoints, [...parents, this.resolveParent("", "")]);
  }

  usage(path: string): Promise<CgroupUsage> {
    return this.#settings.turns.run(() => this.#usage(path));
  }

  details(path: string): Promise<CgroupDetails> {
    const read = (file: string) =>
      this.#read(file.slice(0, file.search(/[./]/)), path, file.slice(file.indexOf("/") + 1));
    return this.#settings.turns.run(() => detailsV1(read, this.#usage(path), this.#settings.hugePageSizes));
  }

  #usage(path: string): CgroupUsage {
    const cpuacctUsage = this.#read("cpuacct", path, "cpuacct.usage");
    const memoryUsage = this.#read("memory", path, "memory.usage_in_bytes");
    if (cpuacctUsage === undefined && memoryUsage === undefined) {
      throw new BerthError("internal", `cgroup ${path}: it is gone`);
    }
    const files = {
      cpuacctUsage,
      memoryUsage,
      memoryStat: this.#read("memory", path, "memory.stat"),
      memoryLimit: this.#read("memory", path, "memory.limit_in_bytes"),
      memswLimit: this.#read("memory", path, "memory.memsw.limit_in_bytes"),
      pidsCurrent: this.#read("pids", path, "pids.current"),
    };
    return usageV1(files, this.#settings.clock.now());
  }

  async killAll(path: string): Promise<void> {
    const freezer = this.#byController.get("freezer");
    const state = freezer === undefined ? "" : posix.join(freezer, path, "freezer.state");
    if (state !== "" && (await readGroupFile(state)) !== undefined) return killFrozen(posix.dirname(state));
    // Without a freezer a group that forks faster than it is killed can win a round, but not all of them. A group that
    // somebody has taken from the freezer alone is still in the other hierarchies.
    for (let round = 0; round < 100; round++) {
      const pids = new Set((await Promise.all(this.joining(path).join.map(processesOf))).flat());
      if (pids.size === 0) return;
      for (const pid of pids) killQuietly(pid);
      await sleep(2);
    }
    throw new BerthError("internal", `cgroup ${path}: processes survive SIGKILL`);
  }

  async remove(path: string): Promise<void> {
    await Promise.all(this.#hierarchies.map(({ mountpoint }) => removeGroup(posix.join(mountpoint, path))));
  }

  async removeParent(made: readonly string[]): Promise<void> {
    const deepestFirst = made.toSorted((a, b) => b.length - a.length);
    for (const directory of deepestFirst) await removeIfUnused(directory);
  }

  #read(controller: string, path: string, file: string): string | undefined {
    const mountpoint = this.#byController.get(controller);
    return mountpoint === undefined ? undefined : tryReadKernelFile(`${mountpoint}${path}/${file}`);
  }

  #writes(path: string, resources: Resources): readonly FileWrite[] {
    return valuesV1(resources).flatMap(({ controller, file, value, field }) => {
      const mountpoint = this.#byController.get(controller);
      if (mountpoint !== undefined) return [{ path: posix.join(mountpoint, path, file), value, field }];
      if (field === undefined) return [];
      throw new BerthError(
        "invalid-argument",
        `resources.${field}: ${value} can't be set: this machine has no ${controller} controller`,
      );
    });
  }

  /** A v1 cpuset starts empty and takes no process until it has processors and memory nodes. */
  #inheritedCpuset(path: string, resources: Resources) {
    const mountpoint = this.#byController.get("cpuset");
    if (mountpoint === undefined) return [];
    const directory = posix.join(mountpoint, path);
    const missing = [
      ...(resources.cpusetCpus ? [] : ["cpuset.cpus"]),
      ...(resources.cpusetMems ? [] : ["cpuset.mems"]),
    ];
    return missing.map((file) => ({
      path: posix.join(directory, file),
      value: (tryReadKernelFile(posix.join(posix.dirname(directory), file)) ?? "").trim(),
      optional: false,
    }));
  }

  #deviceWrites(path: string, rules: readonly DeviceRule[]) {
    const mountpoint = this.#byController.get("devices");
    if (mountpoint === undefined) return [];
    const any = (number: number | undefined) => (number === undefined ? "*" : String(number));
    return rules.map(({ allow, type, major, minor, access }) => ({
      path: posix.join(mountpoint, path, allow ? "devices.allow" : "devices.deny"),
      value: type === "a" ? "a" : `${type} ${any(major)}:${any(minor)} ${access}`,
      optional: false,
    }));
  }

  /**
   * quota/period may never be above the parent's, not even between two writes: the one that lowers the ratio goes first.
   * A pod of one container, whose kubelet gives both the same ratio, would else refuse every shorter period.
   */
  #cpuOrdered(path: string, writes: readonly FileWrite[]): readonly FileWrite[] {
    const period = writes.find((write) => write.path.endsWith("/cpu.cfs_period_us"));
    const quota = writes.find((write) => write.path.endsWith("/cpu.cfs_quota_us"));
    if (period === undefined || quota === undefined) return writes;
    const now = BigInt((this.#read("cpu", path, "cpu.cfs_period_us") ?? "0").trim());
    const others = writes.filter((write) => write !== period && write !== quota);
    return BigInt(period.value) >= now ? [...others, period, quota] : [...others, quota, period];
  }

  /** memory may never be above memory+swap: when memory grows, memory+swap has to grow first. */
  #memoryOrdered(path: string, writes: readonly FileWrite[]): readonly FileWrite[] {
    const limit = writes.findIndex((write) => write.path.endsWith("/memory.limit_in_bytes"));
    const memsw = writes.findIndex((write) => write.path.endsWith("/memory.memsw.limit_in_bytes"));
    const limitWrite = writes[limit];
    const memswWrite = writes[memsw];
    if (limitWrite === undefined || memswWrite === undefined) return writes;
    const now = BigInt((this.#read("memory", path, "memory.memsw.limit_in_bytes") ?? "0").trim());
    const wantedLimit = BigInt(limitWrite.value);
    const memswFirst = wantedLimit < 0n || wantedLimit > now;
    const others = writes.filter((write) => write !== limitWrite && write !== memswWrite);
    return memswFirst ? [...others, memswWrite, limitWrite] : [...others, limitWrite, memswWrite];
  }
}

/**
 * Whether the group is there and takes processes. The kubelet has made its pods' groups before it asks for the pod: this
 * spares each of them some forty steps.
 */
function isWhole(mountpoint: string, path: string, controllers: readonly string[]): boolean {
  const directory = posix.join(mountpoint, path);
  // Looking into a hierarchy waits for no disk.
  if (!existsSync(directory)) return false;
  if (!controllers.includes("cpuset")) return true;
  return ["cpuset.cpus", "cpuset.mems"].every(
    (file) => (tryReadKernelFile(posix.join(directory, file)) ?? "").trim() !== "",
  );
}

/** Copies processors and memory nodes from the parent into a group that has none yet. */
async function inheritCpuset(directory: string): Promise<void> {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    const own = await readGroupFile(posix.join(directory, file));
    if (own === undefined || own.trim() !== "") continue;
    const parent = (await readGroupFile(posix.join(posix.dirname(directory), file))) ?? "";
    await writeFile(posix.join(directory, file), parent.trim());
  }
}

/** Frozen processes can neither fork nor exit, so the list is whole and no pid is reused; then they are let go to die. */
async function killFrozen(directory: string): Promise<void> {
  const state = posix.join(directory, "freezer.state");
  if ((await readGroupFile(state)) === undefined) return;
  try {
    for (let tries = 0; tries < 50; tries++) {
      await writeFile(state, "FROZEN");
      if ((await readGroupFile(state))?.trim() !== "FREEZING") break;
      // A process in an uninterruptible wait holds it up; asking again helps, as does a moment.
      await sleep(2);
    }
    for (const pid of await processesOf(directory)) killQuietly(pid);
  } finally {
    await thaw(state);
  }
}

async function thaw(state: string): Promise<void> {
  try {
    await writeFile(state, "THAWED");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}
