import { BoundedQueue } from "../lib/bounded-queue.ts";
import type { ContainerEntry, PodEntry } from "./objects.ts";

export type LifecycleKind = "created" | "started" | "stopped" | "deleted";

/** What happened to a container or a sandbox, with the state of the whole pod right after it. */
export interface LifecycleEvent {
  readonly kind: LifecycleKind;
  /** The container's id, or the sandbox's own. */
  readonly id: string;
  /** Nanoseconds since the epoch. */
  readonly at: bigint;
  readonly sandbox: PodEntry["sandbox"];
  readonly containers: readonly ContainerEntry["container"][];
}

/** One subscriber's end. */
export interface Subscription {
  /** Waits for events. `dropped` counts those lost because the subscriber was too slow. Undefined after close. */
  take(): Promise<{ readonly items: readonly LifecycleEvent[]; readonly dropped: number } | undefined>;
  close(): void;
}

/** Enough for a node that starts or ends all its containers at once. */
const queueLimit = 4096;

/** The lifecycle feed. Publishing never waits and never fails, whatever the subscribers do. */
export class Events {
  readonly #queues = new Set<BoundedQueue<LifecycleEvent>>();
  readonly #now: () => bigint;

  constructor(now: () => bigint) {
    this.#now = now;
  }

  publish(kind: LifecycleKind, id: string, pod: PodEntry): void {
    if (this.#queues.size === 0) {
      return;
    }
    const event: LifecycleEvent = {
      kind,
      id,
      at: this.#now(),
      sandbox: pod.sandbox,
      containers: [...pod.containers.values()].map((entry) => entry.container),
    };
    for (const queue of this.#queues) {
      queue.push(event);
    }
  }

  subscribe(): Subscription {
    const queue = new BoundedQueue<LifecycleEvent>(queueLimit);
    this.#queues.add(queue);
    return {
      take: () => queue.take(),
      close: () => {
        this.#queues.delete(queue);
        queue.close();
      },
    };
  }
}
