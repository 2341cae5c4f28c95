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
  IdGroup,
  LimitInForce,
} from "../../ports/cgroups.ts";
import type { Clock } from "../../ports/clock.ts";
import { detailsV2 } from "./cgroup-details.ts";
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
import { limitsInForce } from "./cgroup-limits.ts";
import { mergeResources, patchOf } from "./cgroup-patch.ts";
import { directoriesWithout, groupsOfIds } from "./cgroup-survey.ts";
import { usageV2 } from "./cgroup-usage.ts";
import { checkUnified, valuesV2 } from "./cgroup-values.ts";
import { DevicePrograms } from "./device-programs.ts";
import { tryReadKernelFile } from "./libc.ts";
import type { TurnQueue } from "./turn-queue.ts";

export interface CgroupSettings {
  readonly defaultParent: string;
  readonly clock: Clock;
  readonly turns: TurnQueue;
  /** HostFacts.hugePageSizes. */
  readonly hugePageSizes: readonly string[];
}

/** The controllers that carry limits of CRI, by fields or through `unified`. Others stay as they are. */
const wanted = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];

/** cgroup v2: one hierarchy, limits by controller, devices by a BPF program. */
export class CgroupsV2 implements Cgroups {
  readonly version = 2;
  readonly driver: Cgroups["driver"] = "cgroupfs";
  readonly #mountpoint: string;
  readonly #settings: CgroupSettings;
  readonly #programs = new DevicePrograms();

  constructor(mountpoint: string, settings: CgroupSettings) {
    this.#mountpoint = mountpoint;
    this.#settings = settings;
  }

  resolveParent(cgroupParent: string, _sandboxId: string): string {
    return resolveCgroupParent(cgroupParent, this.#settings.defaultParent);
  }

  async ensureParent(path: string): Promise<readonly string[]> {
    const made: string[] = [];
    await delegate(this.#mountpoint);
    for (const directory of groupsTo(this.#mountpoint, path)) {
      if (await makeGroup(directory)) made.push(directory);
      await delegate(directory);
    }
    return made;
  }

  async enclose(_path: string, _pid: number): Promise<void> {}

  async plan(request: CgroupRequest): Promise<CgroupPlan> {
    checkUnified(request.resources.unified ?? {});
    const directory = this.#directory(request.path);
    const controllers = controllersIn(posix.dirname(directory), "cgroup.subtree_control");
    const writes = this.#writes(request.path, request.resources, controllers);
    // One process of a container killed leaves it in a state that nobody planned: the kernel kills all of it (as the
    // kubelet asks for). `unified` comes later and may say otherwise.
    const group = controllers.has("memory")
      ? [{ path: posix.join(directory, "memory.oom.group"), value: "1", optional: true }]
      : [];
    return {
      version: 2,
      mkdirs: [directory],
      writes: [
        ...group,
        ...writes.map(({ path, value, field }) => ({ path, value, optional: field === undefined })),
      ],
      join: [directory],
      oomFile: controllers.has("memory") ? posix.join(directory, "memory.events") : "",
      deviceProgramFd: this.#programs.get(request.devices),
    };
  }

  joining(path: string): Pick<CgroupPlan, "version" | "join"> {
    return { version: 2, join: [this.#directory(path)] };
  }

  view(_path: string): CgroupView {
    return { version: 2, mountpoint: this.#mountpoint };
  }

  async update(path: string, before: Resources, patch: Resources): Promise<Resources> {
    checkUnified(patch.unified ?? {});
    const after = mergeResources(before, patch);
    const directory = this.#directory(path);
    const controllers = controllersIn(directory, "cgroup.controllers");
    await writeAllOrNone(this.#writes(path, patchOf(after, patch), controllers));
    return after;
  }

  limits(path: string, resources: Resources): readonly LimitInForce[] {
    const directory = this.#directory(path);
    return limitsInForce(valuesV2(resources), (_, file) => tryReadKernelFile(`${directory}/${file}`));
  }

  groupsWithout(path: string, pid: number): Promise<readonly string[]> {
    return directoriesWithout([this.#directory(path)], pid);
  }

  groupsOfIds(parents: readonly string[]): Promise<readonly IdGroup[]> {
    return groupsOfIds([this.#mountpoint], [...parents, this.defaultParent]);
  }

  /** Where pods without a parent of their own go. */
  protected get defaultParent(): string {
    return this.resolveParent("", "");
  }

  usage(path: string): Promise<CgroupUsage> {
    return this.#settings.turns.run(() => this.#usage(path));
  }

  details(path: string): Promise<CgroupDetails> {
    const read = (file: string) => tryReadKernelFile(`${this.#directory(path)}/${file}`);
    return this.#settings.turns.run(() => detailsV2(read, this.#usage(path), this.#settings.hugePageSizes));
  }

  #usage(path: string): CgroupUsage {
    const directory = this.#directory(path);
    const read = (file: string) => tryReadKernelFile(`${directory}/${file}`);
    const cpuStat = read("cpu.stat");
    if (cpuStat === undefined) throw new BerthError("internal", `cgroup ${directory}: it is gone`);
    const files = {
      cpuStat,
      memoryCurrent: read("memory.current"),
      memoryStat: read("memory.stat"),
      memoryMax: read("memory.max"),
      swapCurrent: read("memory.swap.current"),
      swapMax: read("memory.swap.max"),
      pidsCurrent: read("pids.current"),
      cpuPressure: read("cpu.pressure"),
      memoryPressure: read("memory.pressure"),
      ioPressure: read("io.pressure"),
    };
    return usageV2(files, this.#settings.clock.now());
  }

  async killAll(path: string): Promise<void> {
    const directory = this.#directory(path);
    try {
      await writeFile(posix.join(directory, "cgroup.kill"), "1", { flag: "r+" });
    } catch (error) {
      const code = errnoOf(error);
      if (code !== "ENOENT")
        throw new BerthError("internal", `cgroup ${directory}: kill: ${code}`, { cause: error });
      // No such group, or a kernel before 5.14.
      await this.#killFrozen(directory);
    }
  }

  remove(path: string): Promise<void> {
    return removeGroup(this.#directory(path));
  }

  async removeParent(made: readonly string[]): Promise<void> {
    for (const directory of made.toReversed()) await removeIfUnused(directory);
  }

  #directory(path: string): string {
    return posix.join(this.#mountpoint, path);
  }

  #writes(path: string, resources: Resources, controllers: ReadonlySet<string>): readonly FileWrite[] {
    const directory = this.#directory(path);
    return valuesV2(resources).flatMap(({ controller, file, value, field }) => {
      if (controllers.has(controller)) return [{ path: posix.join(directory, file), value, field }];
      if (field === undefined) return [];
      throw new BerthError(
        "invalid-argument",
        `resources.${field}: ${value} can't be set: this machine has no ${controller} controller for ${directory}`,
      );
    });
  }

  async #killFrozen(directory: string): Promise<void> {
    const freeze = posix.join(directory, "cgroup.freeze");
    if ((await readGroupFile(freeze)) === undefined) return;
    try {
      await writeFile(freeze, "1");
      for (let tries = 0; tries < 50; tries++) {
        const events = await readGroupFile(posix.join(directory, "cgroup.events"));
        if (events === undefined || events.includes("frozen 1")) break;
        await sleep(2);
      }
      for (const pid of await processesOf(directory)) killQuietly(pid);
    } finally {
      if ((await readGroupFile(freeze)) !== undefined) await writeFile(freeze, "0");
    }
  }
}

/** Gives a group's children all controllers that it has itself. */
export async function delegate(directory: string): Promise<void> {
  const has = controllersIn(directory, "cgroup.controllers");
  const given = controllersIn(directory, "cgroup.subtree_control");
  const missing = wanted.filter((name) => has.has(name) && !given.has(name));
  if (missing.length === 0) return;
  const file = posix.join(directory, "cgroup.subtree_control");
  try {
    await writeFile(file, missing.map((name) => `+${name}`).join(" "));
  } catch {
    // One that is refused (cpu with realtime processes about) must not cost the rest; enable() judges each error.
    for (const name of missing) await enable(file, name);
  }
}

function controllersIn(directory: string, file: string): ReadonlySet<string> {
  const text = tryReadKernelFile(posix.join(directory, file)) ?? "";
  return new Set(
    text
      .trim()
      .split(" ")
      .filter((name) => name !== ""),
  );
}

async function enable(file: string, controller: string): Promise<void> {
  try {
    await writeFile(file, `+${controller}`);
  } catch (error) {
    const code = errnoOf(error);
    // EBUSY: processes in an inner group (they have to be in leaves). Others: the controller isn't to be had here. A limit
    // that needs it is refused when it is asked for.
    if (["EBUSY", "EINVAL", "ENOENT", "EOPNOTSUPP"].includes(code)) return;
    throw new BerthError("internal", `cgroup ${file}: +${controller}: ${code}`, { cause: error });
  }
}
