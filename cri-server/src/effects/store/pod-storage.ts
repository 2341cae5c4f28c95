import { chmod, chown, copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import { settleAll } from "../../lib/settle-all.ts";
import type { Logger } from "../../ports/logger.ts";
import type { ExitRecord } from "../../ports/monitor.ts";
import type { ContainerStorage, Leftovers, Owner, PodPaths, PodStorage } from "../../ports/pod-storage.ts";
import { KernelProjectQuota } from "../kernel/project-quota.ts";
import { LayerProjects, noQuota } from "./layer-projects.ts";

/** Where things are, and who takes mounts away. */
export interface PodStorageDeps {
  readonly root: string;
  readonly state: string;
  readonly netnsDir: string;
  /** umount2(MNT_DETACH); resolves when nothing is mounted there (any more). */
  readonly detachMount: (path: string) => void;
  /** Reads the monitor's exit file. */
  readonly parseExit: (text: string) => ExitRecord | undefined;
  readonly log: Logger;
  /** Whether there will be limits for all: then a file system without quota is an error at once. */
  readonly mustLimit: boolean;
}

/** Pins of ours in a directory that other programs use too start with this. */
const pinPrefix = "berth-";
const idPattern = /^[0-9a-f]{64}$/;

/** The storage, and the projects of its writable layers for whoever wants to know how large these are. */
export interface OpenedPodStorage {
  readonly storage: PodStorage;
  readonly projects: LayerProjects;
}

/** Makes the three top directories, and gives out paths below them. */
export async function createPodStorage(deps: PodStorageDeps): Promise<OpenedPodStorage> {
  const { root, state, netnsDir } = deps;
  for (const path of [root, state, join(root, "containers"), netnsDir]) {
    await mkdir(path, { recursive: true, mode: 0o711 });
  }
  await mkdir(join(state, "pods"), { recursive: true, mode: 0o700 });
  // What containers and images bring lies below (set-user-id programs, device nodes): no other user of the machine may get
  // there (CVE-2021-41103, CVE-2024-25621). Also containers in user namespaces need no way in: all is opened by root.
  await chmod(root, 0o700);
  await chmod(state, 0o711);
  await chmod(join(state, "pods"), 0o700);
  await mkdir(join(root, "exits"), { recursive: true, mode: 0o700 });
  const projects = await openProjects(deps);
  const pod = (id: string): PodPaths => podPaths(deps, id);
  const container = (id: string): ContainerStorage => containerPaths(deps, id);
  const storage: PodStorage = {
    pod,
    container,
    makePod: (id, files) => makePod(pod(id), files),
    writeHosts: (id, text) => writeOrCopy(pod(id).hosts, text, "/etc/hosts"),
    makeBundle: (id, config) => makeBundle(container(id).bundle, config),
    makeContainer: (id, owner, limitBytes) => makeContainer(container(id), owner, projects, limitBytes),
    releaseLayer: (id) => projects.release(container(id).dir),
    makeLogDirectory: async (directory) => {
      await mkdir(directory, { recursive: true, mode: 0o755 });
    },
    readExit: (id) => readExit(deps, container(id).exitFile),
    removeExit: (id) => rm(container(id).exitFile, { force: true }),
    unpin: (id) => unpin(deps, pod(id)),
    leftovers: (sandboxIds, containerIds) => leftovers(deps, sandboxIds, containerIds),
    close: () => projects.close(),
  };
  return { storage, projects };
}

async function openProjects({ root, mustLimit }: PodStorageDeps): Promise<LayerProjects> {
  const projects = await LayerProjects.open(await KernelProjectQuota.open(root), join(root, "containers"));
  if (mustLimit && !projects.canLimit) {
    await projects.close();
    throw new BerthError("invalid-argument", noQuota("option runtime.writable_layer_bytes"));
  }
  return projects;
}

function podPaths({ state, netnsDir }: PodStorageDeps, id: string): PodPaths {
  const dir = join(state, "pods", id);
  return {
    dir,
    resolvConf: join(dir, "resolv.conf"),
    hostname: join(dir, "hostname"),
    hosts: join(dir, "hosts"),
    shm: join(dir, "shm"),
    netns: join(netnsDir, `${pinPrefix}${id}`),
  };
}

function containerPaths({ root }: PodStorageDeps, id: string): ContainerStorage {
  const dir = join(root, "containers", id);
  return {
    dir,
    upper: join(dir, "upper"),
    work: join(dir, "work"),
    exitFile: join(root, "exits", id),
    bundle: join(dir, "bundle"),
  };
}

async function makePod(
  paths: PodPaths,
  files: { readonly resolvConf: string | undefined; readonly hostname: string },
): Promise<void> {
  await mkdir(paths.dir, { mode: 0o711 });
  await settleAll([
    mkdir(paths.shm, { mode: 0o755 }),
    writeFile(paths.hostname, `${files.hostname}\n`, { mode: 0o644 }),
    writeOrCopy(paths.resolvConf, files.resolvConf, "/etc/resolv.conf"),
  ]);
}

/** A host without that file gives an empty one. */
async function writeOrCopy(path: string, text: string | undefined, hostPath: string): Promise<void> {
  if (text !== undefined) {
    await writeFile(path, text, { mode: 0o644 });
    return;
  }
  try {
    await copyFile(hostPath, path);
    await chmod(path, 0o644);
  } catch (error) {
    if (!isMissing(error)) {
      throw error;
    }
    await writeFile(path, "", { mode: 0o644 });
  }
}

async function makeContainer(
  paths: ContainerStorage,
  { uid, gid }: Owner,
  projects: LayerProjects,
  limitBytes: bigint,
): Promise<void> {
  await mkdir(paths.dir, { mode: 0o711 });
  // Before anything is in it: what is made in a project's directory belongs to the project.
  await projects.claim(paths.dir, limitBytes);
  await settleAll([mkdir(paths.upper, { mode: 0o755 }), mkdir(paths.work, { mode: 0o711 })]);
  if (uid !== 0 || gid !== 0) {
    await settleAll([chown(paths.upper, uid, gid), chown(paths.work, uid, gid)]);
  }
}

async function makeBundle(dir: string, config: string): Promise<void> {
  await mkdir(join(dir, "rootfs"), { recursive: true, mode: 0o711 });
  await writeFile(join(dir, "config.json"), config, { mode: 0o600 });
}

async function readExit(
  deps: Pick<PodStorageDeps, "parseExit" | "log">,
  path: string,
): Promise<ExitRecord | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (isMissing(error)) {
      return undefined;
    }
    throw error;
  }
  const exit = deps.parseExit(bytes.toString("utf8"));
  if (exit === undefined) {
    deps.log.error({ path }, "an exit file can't be understood");
  }
  return exit;
}

async function unpin(deps: PodStorageDeps, paths: PodPaths): Promise<void> {
  deps.detachMount(paths.shm);
  deps.detachMount(paths.netns);
  await rm(paths.netns, { force: true });
}

async function leftovers(
  deps: PodStorageDeps,
  sandboxIds: ReadonlySet<string>,
  containerIds: ReadonlySet<string>,
): Promise<Leftovers> {
  // Several servers may share one netns directory, so a pin is found by the pod's directory in our own.
  const [pods, layers, exits] = await Promise.all([
    readdir(join(deps.state, "pods")),
    readdir(join(deps.root, "containers")),
    readdir(join(deps.root, "exits")),
  ]);
  const isLeft = (known: ReadonlySet<string>) => (id: string) => idPattern.test(id) && !known.has(id);
  return {
    sandboxIds: pods.filter(isLeft(sandboxIds)),
    containerIds: [...new Set([...layers, ...exits])].filter(isLeft(containerIds)),
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
