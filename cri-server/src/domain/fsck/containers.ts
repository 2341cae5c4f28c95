import { removeContainer } from "../container/remove.ts";
import type { ContainerEntry } from "../objects.ts";
import { containerLabel, type Defect, type FsckDeps } from "./defect.ts";

/** One container against the kernel and the store. */
export async function containerDefects(deps: FsckDeps, entry: ContainerEntry): Promise<readonly Defect[]> {
  const { status } = entry.container;
  if (status.phase === "unknown") {
    return [
      {
        kind: "lost",
        subject: containerLabel(entry),
        what: status.message,
        remedy: "removes it",
        repair: async () => {
          await deps.locks.run(entry.pod.sandbox.id, () => removeContainer(deps, entry));
        },
      },
    ];
  }
  if (status.phase !== "running" && status.phase !== "created") {
    return [];
  }
  const process = await deps.inspection.process(status.pid);
  if (process === undefined || process.startTime !== status.startTime) {
    // Its monitor knows, and says so; what it has not said yet is compared with what it knows.
    return [];
  }
  return [...(await groupDefects(deps, entry, status.pid)), ...(await layerDefects(deps, entry))];
}

async function groupDefects(deps: FsckDeps, entry: ContainerEntry, pid: number): Promise<readonly Defect[]> {
  const { id, cgroupPath, resources } = entry.container;
  const subject = containerLabel(entry);
  const outside = await deps.cgroups.groupsWithout(cgroupPath, pid);
  if (outside.length > 0) {
    return [
      {
        kind: "missing",
        subject,
        what: `its process ${pid} is outside of ${outside.join(", ")}: neither limits nor device rules hold it`,
        // A group made anew would hold what runs now only from now on, and not what it has taken meanwhile.
        remedy: "ends the container, for its client to start it anew in a group",
        repair: async () => await entry.pod.monitor?.kill(id, 9, true),
      },
    ];
  }
  const differing = deps.cgroups.limits(cgroupPath, resources).filter(({ differs }) => differs);
  if (differing.length === 0) {
    return [];
  }
  const list = differing.map(({ file, wanted, inForce }) => `${file} is ${inForce ?? "gone"}, not ${wanted}`);
  return [
    {
      kind: "differs",
      subject,
      what: list.join(", "),
      remedy: "writes the limits again",
      repair: async () => {
        await deps.cgroups.update(cgroupPath, resources, resources);
      },
    },
  ];
}

async function layerDefects(deps: FsckDeps, entry: ContainerEntry): Promise<readonly Defect[]> {
  const { id, imageId } = entry.container;
  const image = deps.images.find(imageId);
  const layers = image === undefined ? [] : deps.images.layerDirs(image.id);
  const found: Defect[] = [];
  for (const path of [deps.storage.container(id).upper, ...layers]) {
    if (!(await deps.upkeep.exists(path))) {
      found.push({
        kind: "missing",
        subject: containerLabel(entry),
        what: `${path} is gone, a part of its root`,
        remedy: "remove the container; `berth image verify --repair` fetches damaged layers again",
      });
    }
  }
  return found;
}
