import { posix } from "node:path";
import { removeContainerLeftover, removePodLeftover } from "../leftovers.ts";
import { removeDefaultParent } from "../sandbox/cgroup-parent.ts";
import type { Defect, FsckDeps } from "./defect.ts";

/** What no record knows. */
export async function orphanDefects(deps: FsckDeps): Promise<readonly Defect[]> {
  const sandboxIds = new Set([...deps.objects.pods()].map(({ sandbox }) => sandbox.id as string));
  const containerIds = new Set([...deps.objects.containers()].map(({ container }) => container.id as string));
  const all = await Promise.all([
    monitors(deps, sandboxIds),
    pins(deps, sandboxIds),
    directories(deps, sandboxIds, containerIds),
    groups(deps, sandboxIds, containerIds),
    network(deps, sandboxIds),
  ]);
  return all.flat();
}

async function monitors(deps: FsckDeps, known: ReadonlySet<string>): Promise<readonly Defect[]> {
  const strangers = (await deps.upkeep.monitors()).filter(({ sandboxId }) => !known.has(sandboxId));
  return strangers.map(({ pid, sandboxId }) => ({
    kind: "orphan",
    subject: `process ${pid}`,
    what: `the monitor of pod ${sandboxId}, of which there is no record`,
    remedy: "kills it and everything that it runs",
    repair: async () => await deps.upkeep.killTree(pid),
  }));
}

/** Several servers may share the directory: a namespace that somebody uses is somebody's. */
async function pins(deps: FsckDeps, known: ReadonlySet<string>): Promise<readonly Defect[]> {
  const strangers = (await deps.upkeep.pins()).filter(({ sandboxId }) => !known.has(sandboxId));
  const used = await deps.upkeep.namespacesInUse(strangers.flatMap(({ inode }) => inode ?? []));
  return strangers
    .filter(({ inode }) => inode === undefined || !used.has(inode))
    .map(({ path, inode }) => ({
      kind: "orphan",
      subject: path,
      what:
        inode === undefined
          ? "a pin of a pod without a record, with nothing mounted on it"
          : `pins net:[${inode}] for a pod without a record; no process uses it`,
      remedy: "removes it",
      repair: async () => await deps.upkeep.unpin(path),
    }));
}

async function directories(
  deps: FsckDeps,
  sandboxIds: ReadonlySet<string>,
  containerIds: ReadonlySet<string>,
): Promise<readonly Defect[]> {
  const left = await deps.storage.leftovers(sandboxIds, containerIds);
  const pods = left.sandboxIds.map((id): Defect => {
    const { dir } = deps.storage.pod(id);
    return {
      kind: "orphan",
      subject: dir,
      what: "the directory of a pod without a record",
      remedy: "removes it with its mounts",
      repair: async () => await removePodLeftover(deps, id),
    };
  });
  const containers = left.containerIds.map((id): Defect => {
    const { dir } = deps.storage.container(id);
    return {
      kind: "orphan",
      subject: dir,
      what: "the writable layer or exit record of a container without a record",
      remedy: "removes it",
      repair: async () => await removeContainerLeftover(deps, id),
    };
  });
  return [...pods, ...containers];
}

async function groups(
  deps: FsckDeps,
  sandboxIds: ReadonlySet<string>,
  containerIds: ReadonlySet<string>,
): Promise<readonly Defect[]> {
  const parents = [...deps.objects.pods()].map(({ sandbox }) => sandbox.cgroupParent);
  const found = await deps.cgroups.groupsOfIds(parents);
  return found
    .filter(({ id }) => !sandboxIds.has(id) && !containerIds.has(id))
    .map(({ path }) => ({
      kind: "orphan",
      subject: `cgroup ${path}`,
      what: "the group of a pod or container without a record",
      remedy: "kills what is in it and removes it",
      repair: async () => {
        await deps.cgroups.killAll(path);
        await deps.cgroups.remove(path);
        await removeDefaultParent(deps, posix.dirname(path));
      },
    }));
}

/** Links and ports of other networks are another server's. */
async function network(deps: FsckDeps, known: ReadonlySet<string>): Promise<readonly Defect[]> {
  const [{ links, hostPorts }, kept, networks] = await Promise.all([
    deps.upkeep.owned(),
    deps.network.attached(),
    deps.network.networks(),
  ]);
  const isOurs = (link: { readonly network: string; readonly bridge: string }): boolean =>
    networks.some(({ name, bridges }) => name === link.network && bridges.includes(link.bridge));
  const isLeft = ({ sandboxId }: { readonly sandboxId: string }): boolean => !known.has(sandboxId);
  const orphan = (subject: string, what: string, sandboxId: string): Defect => ({
    kind: "orphan",
    subject,
    what,
    remedy: "has the CNI plugins delete that pod's network (DEL)",
    repair: async () => await deps.network.detach(sandboxId, ""),
  });
  const isPortOfOurs = ({ network: name, link }: { readonly network: string; readonly link: string }) => {
    const found = links.find((one) => one.name === link);
    // Without a known link nobody can say whether its pod lives on another server.
    return found === undefined ? link !== "-" && networks.some((one) => one.name === name) : isOurs(found);
  };
  return [
    ...kept
      .filter(isLeft)
      .map(({ sandboxId }) => orphan(`CNI attachment of ${sandboxId}`, "no record of that pod", sandboxId)),
    ...links
      .filter((link) => isLeft(link) && isOurs(link))
      .map(({ name, sandboxId }) => orphan(`link ${name}`, "a link of a pod without a record", sandboxId)),
    ...hostPorts
      .filter((port) => isLeft(port) && isPortOfOurs(port))
      .map(({ name, sandboxId }) =>
        orphan(`host port ${name}`, "leads to a pod without a record", sandboxId),
      ),
  ];
}
