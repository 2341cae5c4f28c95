import { posix } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import { stringify } from "../../lib/json.ts";
import { settleAll } from "../../lib/settle-all.ts";
import { Steps } from "../../lib/steps.ts";
import { Undo } from "../../lib/undo.ts";
import type { Caller } from "../../model/caller.ts";
import { mayBeUnheard } from "../../model/caller.ts";
import type { Container, ContainerConfig, MountRequest } from "../../model/container.ts";
import type { ContainerId } from "../../model/ids.ts";
import type { ImageLease } from "../../model/image.ts";
import type { Monitor } from "../../ports/monitor.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { ContainerEntry, PodEntry } from "../objects.ts";
import { newContainerId } from "../objects.ts";
import { checkAgainstPod, targetPid, withPodNamespaces } from "./checks.ts";
import { recordExit } from "./exit.ts";
import { confinedLogPath } from "./plan/log-path.ts";
import type { PreparedLaunch } from "./plan/prepare.ts";
import { prepareLaunch } from "./plan/prepare.ts";
import { leaseOwners, removeDirectories, volumeOwner } from "./remove.ts";
import { nextContainerStatus } from "./transition.ts";
import { writableLimit } from "./writable-limit.ts";

type Deps = Pick<
  LifecycleDeps,
  | "objects"
  | "store"
  | "cgroups"
  | "images"
  | "monitors"
  | "storage"
  | "events"
  | "clock"
  | "log"
  | "plan"
  | "reservations"
  | "background"
  | "failpoint"
  | "settings"
  | "telemetry"
>;

/** One CreateContainer under way. */
interface Work {
  readonly id: ContainerId;
  readonly pod: PodEntry;
  readonly monitor: Monitor;
  readonly config: ContainerConfig;
  readonly undo: Undo;
  readonly signal: AbortSignal;
}

/**
 * Makes a container up to execve. On failure nothing is left of it; when that can't be done the container stays, UNKNOWN,
 * for the client to remove. The caller holds the pod's lock.
 */
export async function createContainer(
  deps: Deps,
  pod: PodEntry,
  requested: ContainerConfig,
  caller: Caller,
): Promise<ContainerId> {
  const { signal } = caller;
  const { sandbox, monitor } = pod;
  if (sandbox.status.phase !== "ready" || monitor === undefined) {
    throw new BerthError(
      "wrong-state",
      `pod_sandbox_id ${sandbox.id}: the pod sandbox is ${sandbox.status.phase}`,
    );
  }
  checkAgainstPod(requested, sandbox.config);
  const config = withPodNamespaces(requested, sandbox.config);
  const { name, attempt } = config.metadata;
  const conflict = (): BerthError =>
    new BerthError(
      "already-exists",
      `config.metadata name ${JSON.stringify(name)} attempt ${attempt}: a container of this pod sandbox has them`,
    );
  return await deps.reservations.run(
    `container ${sandbox.id} ${attempt} ${name}`,
    signal,
    conflict,
    async () => {
      const present = sameIdentity(pod, config);
      if (present !== undefined) {
        return handOutAgain(present, config, caller) ?? raise(conflict());
      }
      const work: Work = { id: newContainerId(), pod, monitor, config, undo: new Undo(), signal };
      let entry: ContainerEntry | undefined;
      try {
        const steps = new Steps();
        const leases = await takeLeases(deps, work);
        steps.mark("lease");
        const prepared = await preparePlan(deps, work, leases);
        steps.mark("plan");
        entry = await intend(deps, work, leases, prepared);
        steps.mark("intent");
        await launch(deps, work, entry, prepared);
        steps.mark("launch");
        deps.log.debug({ container: work.id, steps: steps.spent }, "container made");
        entry.steps = steps.spent;
        deps.telemetry?.stepsTaken("container", steps.spent);
        entry.isUnheard = mayBeUnheard(caller);
        deps.events.publish("created", work.id, pod);
        return work.id;
      } catch (error) {
        await rollBack(deps, work, entry, error);
        throw error;
      }
    },
  );
}

function raise(error: Error): never {
  throw error;
}

/** A repeated request gets what its first answer may not have told. */
function handOutAgain(
  entry: ContainerEntry,
  config: ContainerConfig,
  caller: Caller,
): ContainerId | undefined {
  const { id, config: present, status } = entry.container;
  if (!entry.isUnheard || status.phase !== "created" || stringify(present) !== stringify(config)) {
    return undefined;
  }
  entry.isUnheard = mayBeUnheard(caller);
  return id;
}

/** A container that is being removed has given its name back. */
function sameIdentity(pod: PodEntry, config: ContainerConfig): ContainerEntry | undefined {
  for (const entry of pod.containers.values()) {
    const { config: present, status } = entry.container;
    const { name, attempt } = present.metadata;
    if (name === config.metadata.name && attempt === config.metadata.attempt && status.phase !== "removing") {
      return entry;
    }
  }
  return undefined;
}

interface Leases {
  readonly image: ImageLease;
  /** By MountRequest.image. */
  readonly volumes: ReadonlyMap<string, ImageLease>;
}

async function takeLeases(deps: Deps, work: Work): Promise<Leases> {
  const { id, config, undo } = work;
  undo.push("image leases", async () => {
    for (const owner of leaseOwners(id, config.mounts)) {
      await deps.images.release(owner);
    }
  });
  await deps.failpoint("container.create.lease");
  const volumes = new Map<string, ImageLease>();
  const [image] = await settleAll([
    leaseAllowed(deps, work, { image: config.image, name: config.userSpecifiedImage }, id),
    ...config.mounts.map(async (mount, index) => {
      if (mount.image !== "") {
        volumes.set(mount.image, await leaseVolume(deps, work, mount.image, volumeOwner(id, index)));
      }
    }),
  ]);
  return { image, volumes };
}

/** The policy may have changed since the pull, and that may have been for a pod of another namespace. */
async function leaseAllowed(
  deps: Deps,
  { pod, signal }: Work,
  { image, name }: { readonly image: string; readonly name: string },
  owner: string,
): Promise<ImageLease> {
  const lease = await deps.images.lease(image, owner);
  const { namespace } = pod.sandbox.config.metadata;
  await deps.images.authorize(lease.image.id, { name: name || image, namespace }, signal);
  return lease;
}

/** The kubelet tells this failure from others by the message's first word. */
async function leaseVolume(deps: Deps, work: Work, image: string, owner: string): Promise<ImageLease> {
  try {
    return await leaseAllowed(deps, work, { image, name: "" }, owner);
  } catch (error) {
    const why = error instanceof BerthError ? error.message : "the image can't be used";
    throw new BerthError("image-volume-failed", `ImageVolumeMountFailed: ${why}`, { cause: error });
  }
}

async function preparePlan(deps: Deps, work: Work, leases: Leases): Promise<PreparedLaunch> {
  const { id, pod, config } = work;
  await deps.failpoint("container.create.plan");
  work.signal.throwIfAborted();
  const { sandbox } = pod;
  const files = deps.storage.pod(sandbox.id);
  const paths = deps.storage.container(id);
  const prepared = await prepareLaunch(deps.plan, {
    containerId: id,
    config,
    sandbox,
    lease: leases.image,
    volumes: leases.volumes,
    files: {
      resolvConf: files.resolvConf,
      hostname: files.hostname,
      hosts: files.hosts,
      shm: sandbox.config.namespaces.ipc === "NODE" ? "/dev/shm" : files.shm,
    },
    paths: {
      upper: paths.upper,
      work: paths.work,
      log: confinedLogPath(pod.sandbox.config.logDirectory, config.logPath),
      exitFile: paths.exitFile,
      bundle: paths.bundle,
    },
    hostname: sandbox.config.hostname || deps.settings.hostname,
    targetPid: targetPid(config, pod),
  });
  for (const warning of prepared.warnings) {
    deps.log.warn({ container: id }, warning);
  }
  return prepared;
}

function logPathOf({ pod, config }: Work): string {
  const { logDirectory } = pod.sandbox.config;
  return logDirectory === "" || config.logPath === "" ? "" : posix.join(logDirectory, config.logPath);
}

/** The durable intent, from which everything that follows can be found and undone, and the directories beside it. */
async function intend(
  deps: Deps,
  work: Work,
  leases: Leases,
  prepared: PreparedLaunch,
): Promise<ContainerEntry> {
  const { id, pod, undo, config } = work;
  const container = recordOf(deps, work, leases, prepared);
  const entry = deps.objects.addContainer(container, pod);
  undo.push("record", () => deps.store.deleteContainer(id));
  undo.push("directories", () => removeDirectories(deps, id));
  const limit = writableLimit(config, pod.sandbox.config.annotations, deps.settings.writableLayerBytes);
  const root = config.security.namespaces.userns?.uidMappings[0]?.hostId ?? 0;
  await settleAll([
    deps.failpoint("container.create.intent").then(() => deps.store.putContainer(container)),
    deps
      .failpoint("container.create.layer")
      .then(() => deps.storage.makeContainer(id, { uid: root, gid: root }, limit))
      .then(() => {
        const { bundleConfig } = prepared;
        return bundleConfig === undefined ? undefined : deps.storage.makeBundle(id, bundleConfig);
      }),
    container.logPath === ""
      ? Promise.resolve()
      : deps.storage.makeLogDirectory(pod.sandbox.config.logDirectory),
  ]);
  return entry;
}

function recordOf(deps: Deps, work: Work, leases: Leases, prepared: PreparedLaunch): Container {
  const { id, pod, config } = work;
  const { image } = leases.image;
  return {
    id,
    sandboxId: pod.sandbox.id,
    config,
    createdAt: deps.clock.now(),
    imageId: image.id,
    imageRef: image.repoDigests[0] ?? image.id,
    imageName: image.repoTags[0] ?? image.repoDigests[0] ?? image.id,
    user: prepared.user,
    process: prepared.facts,
    logPath: logPathOf(work),
    stopSignal: prepared.stopSignal,
    layerDir: deps.storage.container(id).dir,
    cgroupPath: prepared.cgroupPath,
    resources: prepared.resources,
    mounts: config.mounts.map((mount) => withImageRef(mount, leases.volumes.get(mount.image))),
    status: { phase: "creating" },
  };
}

/** ContainerStatus tells which content an image volume has. */
function withImageRef(mount: MountRequest, volume: ImageLease | undefined): MountRequest {
  return volume === undefined
    ? mount
    : { ...mount, imageRef: volume.image.repoDigests[0] ?? volume.image.id, imageId: volume.image.id };
}

async function launch(
  deps: Deps,
  work: Work,
  entry: ContainerEntry,
  prepared: PreparedLaunch,
): Promise<void> {
  const { id, monitor, undo, signal } = work;
  undo.push("cgroup", () => deps.cgroups.remove(prepared.cgroupPath));
  undo.push("exit record", () => deps.storage.removeExit(id));
  await deps.failpoint("container.create.monitor");
  signal.throwIfAborted();
  const process = await monitor.create(prepared.plan, signal);
  undo.push("process", () => monitor.remove(id));
  await deps.failpoint("container.create.record");
  signal.throwIfAborted();
  const status = nextContainerStatus(entry.container.status, { kind: "created", process });
  const created = { ...entry.container, status };
  await deps.store.putContainer(created);
  entry.container = created;
  if (entry.earlyExit !== undefined) {
    recordExit(deps, entry, entry.earlyExit);
  }
}

async function rollBack(
  deps: Deps,
  work: Work,
  entry: ContainerEntry | undefined,
  error: unknown,
): Promise<void> {
  const { id, undo } = work;
  undo.push("test step", () => deps.failpoint("undo.step"));
  const failures = await undo.run();
  for (const failure of failures) {
    deps.log.error({ err: failure.error, container: id, step: failure.what }, "a rollback step failed");
    deps.telemetry?.rollbackStepFailed("container");
  }
  const present = entry ?? [...work.pod.containers.values()].find((other) => other.container.id === id);
  if (present === undefined) {
    return;
  }
  if (failures.length === 0) {
    deps.objects.deleteContainer(present);
    return;
  }
  const steps = failures.map((failure) => failure.what).join(", ");
  const why = error instanceof Error ? error.message : String(error);
  const message = `create failed (${why}), and so did taking back: ${steps}`;
  present.container = {
    ...present.container,
    status: nextContainerStatus(present.container.status, { kind: "failed", message }),
  };
  await deps.store.putContainer(present.container);
}
