import { randomBytes } from "node:crypto";
import { BerthError } from "../errors/berth-error.ts";
import type { Container, ContainerStatus } from "../model/container.ts";
import type { ContainerId, SandboxId } from "../model/ids.ts";
import type { Sandbox, SandboxStatus } from "../model/sandbox.ts";
import type { ExitRecord, Monitor } from "../ports/monitor.ts";
import type { StopInProgress } from "./container/stop.ts";

/** One sandbox in memory: its newest record, and what connects to the living pod. */
export interface PodEntry {
  sandbox: Sandbox;
  /** Missing when the pod's monitor is gone. */
  monitor: Monitor | undefined;
  readonly containers: Map<ContainerId, ContainerEntry>;
  /** The client that asked for it may not have heard its id. */
  isUnheard: boolean;
  /** Milliseconds that each step of making it took; unknown of what an earlier server has made. */
  steps: Readonly<Record<string, number>> | undefined;
}

/** One container in memory. */
export interface ContainerEntry {
  container: Container;
  readonly pod: PodEntry;
  /** Resolves when the container has exited and everyone may know. */
  readonly exited: PromiseWithResolvers<void>;
  stop: StopInProgress | undefined;
  /** StartContainer is under way: it reports itself when the process never came to run. */
  isStarting: boolean;
  /** An exit that came before the creation was recorded. */
  earlyExit: ExitRecord | undefined;
  /** See PodEntry. */
  isUnheard: boolean;
  /** See PodEntry. */
  steps: Readonly<Record<string, number>> | undefined;
}

/** Everything that lives, by id. Reading it never waits. */
export class Objects {
  readonly #pods = new Map<string, PodEntry>();
  readonly #containers = new Map<string, ContainerEntry>();

  addPod(sandbox: Sandbox, monitor?: Monitor): PodEntry {
    const entry: PodEntry = {
      sandbox,
      monitor,
      containers: new Map(),
      isUnheard: false,
      steps: undefined,
    };
    this.#pods.set(sandbox.id, entry);
    return entry;
  }

  addContainer(container: Container, pod: PodEntry): ContainerEntry {
    const entry: ContainerEntry = {
      container,
      pod,
      exited: Promise.withResolvers(),
      stop: undefined,
      isStarting: false,
      earlyExit: undefined,
      isUnheard: false,
      steps: undefined,
    };
    this.#containers.set(container.id, entry);
    pod.containers.set(container.id, entry);
    return entry;
  }

  deletePod(entry: PodEntry): void {
    this.#pods.delete(entry.sandbox.id);
  }

  deleteContainer(entry: ContainerEntry): void {
    this.#containers.delete(entry.container.id);
    entry.pod.containers.delete(entry.container.id);
  }

  /** Every sandbox, also those that clients don't see. */
  pods(): Iterable<PodEntry> {
    return this.#pods.values();
  }

  containers(): Iterable<ContainerEntry> {
    return this.#containers.values();
  }

  /** By whole id or by an unambiguous start of it; only what clients may see. */
  findPod(id: string): PodEntry | undefined {
    const exact = this.#pods.get(id);
    const found = exact ?? onlyMatch(this.#pods, id, "pod_sandbox_id");
    return found !== undefined && isSandboxVisible(found.sandbox.status) ? found : undefined;
  }

  findContainer(id: string): ContainerEntry | undefined {
    const exact = this.#containers.get(id);
    const found = exact ?? onlyMatch(this.#containers, id, "container_id");
    return found !== undefined && isContainerVisible(found.container.status) ? found : undefined;
  }

  /** Like findPod, but a missing one is the error that the client gets. */
  pod(id: string): PodEntry {
    const entry = this.findPod(id);
    if (entry === undefined) {
      throw new BerthError("sandbox-not-found", `pod_sandbox_id ${JSON.stringify(id)}: no such pod sandbox`);
    }
    return entry;
  }

  container(id: string): ContainerEntry {
    const entry = this.findContainer(id);
    if (entry === undefined) {
      throw new BerthError("container-not-found", `container_id ${JSON.stringify(id)}: no such container`);
    }
    return entry;
  }
}

/** crictl shows 13 digits; fewer than four would match by chance. */
const shortestPrefix = 4;

function onlyMatch<T>(map: ReadonlyMap<string, T>, prefix: string, field: string): T | undefined {
  if (prefix.length < shortestPrefix || prefix.length >= 64) {
    return undefined;
  }
  let found: T | undefined;
  for (const [id, entry] of map) {
    if (id.startsWith(prefix)) {
      if (found !== undefined) {
        throw new BerthError("invalid-argument", `${field} ${JSON.stringify(prefix)}: matches more than one`);
      }
      found = entry;
    }
  }
  return found;
}

/** What is being made was told to nobody yet, and what is being removed is gone for clients. */
export function isSandboxVisible(status: SandboxStatus): boolean {
  return status.phase !== "creating" && status.phase !== "removing";
}

/** See isSandboxVisible. */
export function isContainerVisible(status: ContainerStatus): boolean {
  return status.phase !== "creating" && status.phase !== "removing";
}

export function newSandboxId(): SandboxId {
  return randomBytes(32).toString("hex") as SandboxId;
}

export function newContainerId(): ContainerId {
  return randomBytes(32).toString("hex") as ContainerId;
}
