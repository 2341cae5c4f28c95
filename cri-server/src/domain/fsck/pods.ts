import { BerthError } from "../../errors/berth-error.ts";
import type { MonitoredContainer } from "../../ports/monitor.ts";
import { recordExit } from "../container/exit.ts";
import type { PodEntry } from "../objects.ts";
import { removeSandbox } from "../sandbox/remove.ts";
import { stopSandbox } from "../sandbox/stop.ts";
import { containerDefects } from "./containers.ts";
import { type Defect, type FsckDeps, podLabel } from "./defect.ts";

/** One pod and its containers against the kernel. What is being made or taken away is left to those who do it. */
export async function podDefects(deps: FsckDeps, pod: PodEntry): Promise<readonly Defect[]> {
  const { phase } = pod.sandbox.status;
  switch (phase) {
    case "creating":
    case "stopping":
    case "removing":
      return [];
    case "unknown":
      return [halfMade(deps, pod)];
    case "notready":
      return lostPod(deps, pod);
    case "ready":
      return await livingPod(deps, pod);
  }
}

function halfMade(deps: FsckDeps, pod: PodEntry): Defect {
  return {
    kind: "lost",
    subject: podLabel(pod),
    what: pod.sandbox.status.reason ?? "its state is unknown",
    remedy: "removes it",
    repair: async () => await deps.locks.run(pod.sandbox.id, () => removeSandbox(deps, pod)),
  };
}

/** One that lost its monitor keeps its network until somebody stops it. */
function lostPod(deps: FsckDeps, pod: PodEntry): readonly Defect[] {
  const { id, status } = pod.sandbox;
  if (status.attached === undefined || status.bootId !== deps.host.bootId) {
    return [];
  }
  return [
    {
      kind: "lost",
      subject: podLabel(pod),
      what: `it can't run any more (${status.reason ?? "no reason is known"}), and holds its network`,
      remedy: "stops it, which frees addresses and host ports",
      repair: async () => await deps.locks.run(id, () => stopSandbox(deps, pod)),
    },
  ];
}

async function livingPod(deps: FsckDeps, pod: PodEntry): Promise<readonly Defect[]> {
  const known = await knownTo(pod);
  const found = [
    ...(known === undefined ? [silentMonitor(pod)] : monitorDefects(deps, pod, known)),
    ...(await pinDefects(deps, pod)),
    ...(await fileDefects(deps, pod)),
  ];
  for (const entry of pod.containers.values()) {
    found.push(...(await containerDefects(deps, entry)));
  }
  return found;
}

/** A monitor answers within a millisecond. */
const answerLimitMs = 3000;

async function knownTo({ monitor }: PodEntry): Promise<readonly MonitoredContainer[] | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), answerLimitMs);
  try {
    return await Promise.race([monitor?.list().catch(() => undefined), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Nothing is done by itself: it may be the machine that is slow, and the repair would be the pod's end. */
function silentMonitor(pod: PodEntry): Defect {
  const pid = pod.monitor?.process.pid ?? pod.sandbox.status.monitor?.pid ?? 0;
  return {
    kind: "stuck",
    subject: podLabel(pod),
    what: `its monitor (pid ${pid}) does not answer within ${answerLimitMs / 1000} s`,
    remedy: `kill -CONT ${pid} if somebody stopped it; kill -KILL ${pid} ends the pod, which its client then makes anew`,
  };
}

function monitorDefects(
  deps: FsckDeps,
  pod: PodEntry,
  known: readonly MonitoredContainer[],
): readonly Defect[] {
  return known.flatMap(({ containerId, state, exit }): readonly Defect[] => {
    const entry = [...pod.containers.values()].find(({ container }) => container.id === containerId);
    if (entry === undefined) {
      return [
        {
          kind: "orphan",
          subject: podLabel(pod),
          what: `its monitor runs container ${containerId}, which has no record`,
          remedy: "ends and removes it",
          repair: async () => await pod.monitor?.remove(containerId),
        },
      ];
    }
    const { phase } = entry.container.status;
    if (state !== "exited" || exit === undefined || (phase !== "running" && phase !== "created")) {
      return [];
    }
    return [
      {
        kind: "differs",
        subject: podLabel(pod),
        what: `container ${containerId} has ended, but is recorded as ${phase}`,
        remedy: "records how it ended",
        repair: async () => recordExit(deps, entry, exit),
      },
    ];
  });
}

async function pinDefects(deps: FsckDeps, pod: PodEntry): Promise<readonly Defect[]> {
  const { id, config } = pod.sandbox;
  if (config.namespaces.network !== "POD" || pod.monitor === undefined) {
    return [];
  }
  const { pid } = pod.monitor.process;
  const { netns } = deps.storage.pod(id);
  const [pinned, held] = await Promise.all([
    deps.inspection.pinned(netns),
    deps.inspection.heldNamespaces(pid),
  ]);
  if (held.net === undefined || pinned === held.net) {
    return await networkDefects(deps, pod, netns);
  }
  const what =
    pinned === undefined
      ? `its network namespace is not pinned at ${netns}`
      : `${netns} pins net:[${pinned}], but its monitor holds net:[${held.net}]`;
  return [
    {
      kind: pinned === undefined ? "missing" : "differs",
      subject: podLabel(pod),
      what,
      remedy: "pins the namespace that its monitor holds",
      repair: async () => await deps.locks.run(id, () => deps.upkeep.pin(pid, netns)),
    },
  ];
}

/** What only a new pod gets again: CNI has no word for mending. */
async function networkDefects(deps: FsckDeps, pod: PodEntry, netns: string): Promise<readonly Defect[]> {
  try {
    await deps.network.check(pod.sandbox.id, netns);
    return [];
  } catch (error) {
    if (!(error instanceof BerthError)) {
      throw error;
    }
    const remedy = "stop and remove the pod: its client makes one with a new network";
    return [{ kind: "missing", subject: podLabel(pod), what: error.message, remedy }];
  }
}

async function fileDefects(deps: FsckDeps, pod: PodEntry): Promise<readonly Defect[]> {
  const { id, config } = pod.sandbox;
  const { shm, resolvConf, hostname, hosts } = deps.storage.pod(id);
  const found: Defect[] = [];
  for (const path of [resolvConf, hostname, hosts]) {
    if (!(await deps.upkeep.exists(path))) {
      const remedy = "write it anew, or remove the pod: no further container of it can be made without";
      found.push({ kind: "missing", subject: podLabel(pod), what: `${path} is gone`, remedy });
    }
  }
  if (config.namespaces.ipc === "POD" && !(await deps.upkeep.isMounted(shm))) {
    const owner = config.namespaces.userns?.uidMappings[0]?.hostId ?? 0;
    found.push({
      kind: "missing",
      subject: podLabel(pod),
      what: `nothing is mounted at ${shm}, its /dev/shm`,
      remedy: "mounts an empty one for containers to come; those that run keep theirs",
      repair: async () => {
        await deps.locks.run(id, () => deps.upkeep.mountShm(shm, deps.settings.shmBytes, owner));
      },
    });
  }
  return found;
}
