import { BoundedQueue } from "../lib/bounded-queue.ts";
import type { LifecycleEvent, LifecycleKind } from "../model/lifecycle.ts";
import type { PodEntry } from "./objects.ts";

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
