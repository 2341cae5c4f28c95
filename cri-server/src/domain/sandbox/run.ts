import { BerthError } from "../../errors/berth-error.ts";
import { stringify } from "../../lib/json.ts";
import { settleAll } from "../../lib/settle-all.ts";
import { Steps } from "../../lib/steps.ts";
import { Undo } from "../../lib/undo.ts";
import type { Caller } from "../../model/caller.ts";
import { mayBeUnheard } from "../../model/caller.ts";
import type { SandboxId } from "../../model/ids.ts";
import type { Sandbox, SandboxConfig } from "../../model/sandbox.ts";
import type { Monitor, PodMonitorSpec } from "../../ports/monitor.ts";
import type { LifecycleDeps } from "../deps.ts";
import type { PodEntry } from "../objects.ts";
import { newSandboxId } from "../objects.ts";
import { ensureCgroupParent, removeCgroupParent } from "./cgroup-parent.ts";
import { initCgroupPath } from "./init-cgroup.ts";
import { watchMonitor } from "./monitoring.ts";
import { hostsFile, resolvConf } from "./resolv-conf.ts";
import { nextSandboxStatus } from "./transition.ts";

type Deps = Pick<
  LifecycleDeps,
  | "objects"
  | "store"
  | "monitors"
  | "cgroups"
  | "network"
  | "storage"
  | "events"
  | "clock"
  | "log"
  | "host"
  | "locks"
  | "reservations"
  | "background"
  | "failpoint"
  | "settings"
  | "telemetry"
>;

/** One RunPodSandbox under way. */
interface Work {
  readonly pod: PodEntry;
  readonly undo: Undo;
  readonly signal: AbortSignal;
}

/**
 * Makes a pod: namespaces held by its monitor, network, files, cgroup parent. On failure nothing is left of it; when that
 * can't be done the sandbox stays, NOTREADY, for the client to remove.
 */
export async function runSandbox(deps: Deps, config: SandboxConfig, caller: Caller): Promise<SandboxId> {
  const { name, uid, namespace, attempt } = config.metadata;
  const { signal } = caller;
  const conflict = (): BerthError =>
    new BerthError(
      "already-exists",
      `config.metadata namespace ${JSON.stringify(namespace)} name ${JSON.stringify(name)} uid ${JSON.stringify(uid)} attempt ${attempt}: a pod sandbox has them`,
    );
  const key = `sandbox ${JSON.stringify([namespace, name, uid, attempt])}`;
  return await deps.reservations.run(key, signal, conflict, async () => {
    const present = sameIdentity(deps, config);
    if (present !== undefined) {
      return handOutAgain(present, config, caller) ?? raise(conflict());
    }
    requireNetwork(deps, config);
    const work: Work = { pod: deps.objects.addPod(newSandbox(deps, config)), undo: new Undo(), signal };
    const { id } = work.pod.sandbox;
    try {
      await deps.locks.run(id, () => make(deps, work));
      work.pod.isUnheard = mayBeUnheard(caller);
      deps.events.publish("created", id, work.pod);
      deps.events.publish("started", id, work.pod);
      return id;
    } catch (error) {
      await rollBack(deps, work, error);
      throw error;
    }
  });
}

function raise(error: Error): never {
  throw error;
}

/** A repeated request gets what its first answer may not have told. */
function handOutAgain(pod: PodEntry, config: SandboxConfig, caller: Caller): SandboxId | undefined {
  const { id, config: present, status } = pod.sandbox;
  if (!pod.isUnheard || status.phase !== "ready" || stringify(present) !== stringify(config)) {
    return undefined;
  }
  pod.isUnheard = mayBeUnheard(caller);
  return id;
}

/** A sandbox that is being removed has given its identity back. */
function sameIdentity(deps: Deps, config: SandboxConfig): PodEntry | undefined {
  const wanted = config.metadata;
  for (const pod of deps.objects.pods()) {
    const { name, uid, namespace, attempt } = pod.sandbox.config.metadata;
    const isSame =
      name === wanted.name &&
      uid === wanted.uid &&
      namespace === wanted.namespace &&
      attempt === wanted.attempt;
    if (isSame && pod.sandbox.status.phase !== "removing") {
      return pod;
    }
  }
  return undefined;
}

/** Asked first, so that a node without network doesn't make and unmake half of a pod each time. */
function requireNetwork(deps: Deps, config: SandboxConfig): void {
  const status = deps.network.status();
  if (config.namespaces.network === "POD" && !status.ready) {
    throw new BerthError("network-not-ready", `the pod network is not ready: ${status.message}`);
  }
}

function newSandbox(deps: Deps, config: SandboxConfig): Sandbox {
  const id = newSandboxId();
  return {
    id,
    config,
    createdAt: deps.clock.now(),
    cgroupParent: deps.cgroups.resolveParent(config.cgroupParent, id),
    status: { phase: "creating", ips: [], bootId: deps.host.bootId },
  };
}

async function make(deps: Deps, work: Work): Promise<void> {
  const { pod, undo, signal } = work;
  const { id, config } = pod.sandbox;
  const steps = new Steps();
  await prepare(deps, work);
  steps.mark("prepare");
  signal.throwIfAborted();
  if (config.namespaces.pid === "POD") {
    undo.push("init's cgroup", () => deps.cgroups.remove(initCgroupPath(pod.sandbox)));
  }
  await deps.failpoint("sandbox.run.monitor");
  const monitor = await deps.monitors.spawn(await monitorSpec(deps, pod.sandbox), signal);
  undo.push("monitor", () => monitor.shutdown());
  steps.mark("monitor");
  const [ips] = await settleAll([
    attachNetwork(deps, work),
    deps.cgroups.enclose(pod.sandbox.cgroupParent, monitor.process.pid),
  ]);
  steps.mark("network");
  signal.throwIfAborted();
  await deps.failpoint("sandbox.run.record");
  const hosts = config.namespaces.network === "NODE" ? undefined : hostsFile(config.hostname, ips);
  const ready = readySandbox(deps, pod.sandbox, monitor, ips);
  await settleAll([deps.storage.writeHosts(id, hosts), deps.store.putSandbox(ready)]);
  pod.sandbox = ready;
  watchMonitor(deps, pod, monitor);
  steps.mark("record");
  deps.log.debug({ sandbox: id, steps: steps.spent }, "sandbox made");
  pod.steps = steps.spent;
  deps.telemetry?.stepsTaken("pod", steps.spent);
}

/** The durable intent, and what doesn't need it to be found again: its paths follow from the id. */
async function prepare(deps: Deps, work: Work): Promise<void> {
  const { pod, undo } = work;
  const { sandbox } = pod;
  const { id, config } = sandbox;
  undo.push("record", () => deps.store.deleteSandbox(id));
  undo.push("files", () => deps.monitors.removeTrees([deps.storage.pod(id).dir]));
  undo.push("cgroup parent", () => removeCgroupParent(deps, sandbox, pod.sandbox.status.cgroupDirs ?? []));
  const hostname = config.hostname || deps.settings.hostname;
  const intent = deps.failpoint("sandbox.run.intent").then(() => deps.store.putSandbox(sandbox));
  const parent = async (): Promise<void> => {
    await deps.failpoint("sandbox.run.cgroup");
    const { directories, isNew } = await ensureCgroupParent(deps, sandbox);
    pod.sandbox = { ...sandbox, status: { ...sandbox.status, cgroupDirs: directories } };
    if (isNew) {
      await intent;
      await deps.store.putSandbox(pod.sandbox);
    }
  };
  await settleAll([
    intent,
    deps
      .failpoint("sandbox.run.files")
      .then(() => deps.storage.makePod(id, { resolvConf: resolvConf(config.dns), hostname })),
    parent(),
  ]);
}

/** What the monitor makes for a pod. */
export async function monitorSpec(
  deps: Pick<Deps, "cgroups" | "storage" | "settings">,
  sandbox: Sandbox,
): Promise<PodMonitorSpec> {
  const { id, config } = sandbox;
  const { network, ipc, pid, userns } = config.namespaces;
  const paths = deps.storage.pod(id);
  const hasNetwork = network === "POD";
  const initCgroup =
    pid === "POD"
      ? await deps.cgroups.plan({ path: initCgroupPath(sandbox), resources: {}, devices: [] })
      : undefined;
  return {
    sandboxId: id,
    podDir: paths.dir,
    network: hasNetwork ? "new" : "host",
    ipc: ipc === "POD" ? "new" : "host",
    uts: hasNetwork ? "new" : "host",
    pidInit: pid === "POD",
    userns,
    netnsPath: hasNetwork ? paths.netns : "",
    hostname: hasNetwork ? config.hostname : "",
    sysctls: config.sysctls,
    shmPath: ipc === "POD" ? paths.shm : "",
    shmBytes: deps.settings.shmBytes,
    initCgroup,
  };
}

async function attachNetwork(deps: Deps, work: Work): Promise<readonly string[]> {
  const { pod, undo, signal } = work;
  const { id, config, cgroupParent } = pod.sandbox;
  if (config.namespaces.network === "NODE") {
    return [];
  }
  const netnsPath = deps.storage.pod(id).netns;
  undo.push("network", () => deps.network.detach(id, netnsPath));
  await deps.failpoint("sandbox.run.network");
  const attachment = await deps.network.attach(
    { sandboxId: id, netnsPath, config, cgroupPath: cgroupParent },
    signal,
  );
  return attachment.ips;
}

function readySandbox(deps: Deps, sandbox: Sandbox, monitor: Monitor, ips: readonly string[]): Sandbox {
  const hasNetwork = sandbox.config.namespaces.network === "POD";
  const status = nextSandboxStatus(sandbox.status, {
    kind: "ready",
    ips,
    netnsPath: hasNetwork ? deps.storage.pod(sandbox.id).netns : undefined,
    monitor: monitor.process,
  });
  return { ...sandbox, status: hasNetwork ? { ...status, attached: true } : status };
}

async function rollBack(deps: Deps, { pod, undo }: Work, error: unknown): Promise<void> {
  const { id, config } = pod.sandbox;
  undo.push("test step", () => deps.failpoint("undo.step"));
  const failures = await undo.run();
  for (const failure of failures) {
    deps.log.error({ err: failure.error, sandbox: id, step: failure.what }, "a rollback step failed");
    deps.telemetry?.rollbackStepFailed("pod");
  }
  if (failures.length === 0) {
    deps.objects.deletePod(pod);
    return;
  }
  const why = error instanceof Error ? error.message : String(error);
  const steps = failures.map((failure) => failure.what).join(", ");
  const reason = `run failed (${why}), and so did taking back: ${steps}`;
  const status = nextSandboxStatus(pod.sandbox.status, { kind: "failed", reason });
  pod.sandbox = {
    ...pod.sandbox,
    status: config.namespaces.network === "POD" ? { ...status, attached: true } : status,
  };
  await deps.store.putSandbox(pod.sandbox);
}
