import type { Failpoint } from "../lib/failpoint.ts";
import type { KeyedMutex } from "../lib/keyed-mutex.ts";
import type { Reservations } from "../lib/reservations.ts";
import type { RetryQueue } from "../lib/retry-queue.ts";
import type { Cgroups } from "../ports/cgroups.ts";
import type { Clock } from "../ports/clock.ts";
import type { HostFacts } from "../ports/host.ts";
import type { Images } from "../ports/images.ts";
import type { Logger } from "../ports/logger.ts";
import type { MonitorHost } from "../ports/monitor.ts";
import type { PodNetwork } from "../ports/network.ts";
import type { PodStorage } from "../ports/pod-storage.ts";
import type { RecordStore } from "../ports/store.ts";
import type { Telemetry } from "../ports/telemetry.ts";
import type { PlanDeps } from "./container/plan/prepare.ts";
import type { Events } from "./events.ts";
import type { Objects } from "./objects.ts";

/**
 * Everything that lifecycle use-cases are made of. No function takes it whole: each names the few parts it uses with Pick.
 */
export interface LifecycleDeps {
  readonly objects: Objects;
  readonly store: RecordStore;
  readonly monitors: MonitorHost;
  readonly cgroups: Cgroups;
  readonly network: PodNetwork;
  readonly images: Images;
  readonly storage: PodStorage;
  readonly events: Events;
  readonly clock: Clock;
  readonly log: Logger;
  readonly host: HostFacts;
  readonly plan: PlanDeps;
  /** One per pod: RunPodSandbox, Create, Start, Remove and StopPodSandbox take turns. */
  readonly locks: KeyedMutex;
  readonly reservations: Reservations;
  /** What goes on behind answers. */
  readonly background: RetryQueue;
  readonly failpoint: Failpoint;
  /** Missing: nobody counts. */
  readonly telemetry: Telemetry | undefined;
  readonly settings: LifecycleSettings;
}

export interface LifecycleSettings {
  readonly shmBytes: bigint;
  /** What every container may write at most; 0 no limit. */
  readonly writableLayerBytes: bigint;
  /** The node's own host name, for pods that bring none. */
  readonly hostname: string;
}
