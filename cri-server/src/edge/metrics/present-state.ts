import { readdir } from "node:fs/promises";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { berthVersion } from "../../config/version.ts";
import type { LifecycleDeps } from "../../domain/deps.ts";
import type { ContainerStatus } from "../../model/container.ts";
import type { SandboxPhase } from "../../model/sandbox.ts";
import type { ImageAdmin } from "../../ports/image-admin.ts";
import type { Images } from "../../ports/images.ts";
import type { MetricName } from "./definitions.ts";
import type { MetricSet } from "./metric-set.ts";

type Set = MetricSet<MetricName>;

export interface StateDeps extends Pick<LifecycleDeps, "objects" | "background" | "store"> {
  readonly images: Images & ImageAdmin;
}

/** Often enough for a stall that a probe would feel; each look costs a wake-up of an idle server. */
const delayResolutionMs = 50;
const quantiles = [0.5, 0.9, 0.99] as const;

const podStates: readonly SandboxPhase[] = [
  "creating",
  "ready",
  "stopping",
  "notready",
  "removing",
  "unknown",
];
const containerStates: readonly ContainerStatus["phase"][] = [
  "creating",
  "created",
  "running",
  "exited",
  "removing",
  "unknown",
];

/** Fills in, at each scrape, what need not be counted as it happens. */
export class PresentState {
  readonly #deps: StateDeps;
  readonly #set: Set;
  readonly #delay = monitorEventLoopDelay({ resolution: delayResolutionMs });

  constructor(deps: StateDeps, set: Set) {
    this.#deps = deps;
    this.#set = set;
    this.#delay.enable();
  }

  async read(): Promise<void> {
    this.#objects();
    this.#work();
    this.#eventLoop();
    await Promise.all([this.#images(), this.#process()]);
  }

  close(): void {
    this.#delay.disable();
  }

  #objects(): void {
    const pods = new Map<string, number>(podStates.map((state) => [state, 0]));
    const containers = new Map<string, number>(containerStates.map((state) => [state, 0]));
    let monitors = 0;
    for (const { sandbox, monitor } of this.#deps.objects.pods()) {
      pods.set(sandbox.status.phase, (pods.get(sandbox.status.phase) ?? 0) + 1);
      monitors += monitor === undefined ? 0 : 1;
    }
    for (const { container } of this.#deps.objects.containers()) {
      containers.set(container.status.phase, (containers.get(container.status.phase) ?? 0) + 1);
    }
    for (const [state, count] of pods) {
      this.#set.set("berth_pods", [state], count);
    }
    for (const [state, count] of containers) {
      this.#set.set("berth_containers", [state], count);
    }
    this.#set.set("berth_monitors", [], monitors);
  }

  #work(): void {
    const { background, store } = this.#deps;
    const failing = background.failing();
    this.#set.set("berth_background_tasks", ["failing"], failing.length);
    this.#set.set("berth_background_tasks", ["running"], background.pending().length - failing.length);
    const oldest = Math.max(0, ...failing.map(({ since }) => Date.now() - since));
    this.#set.set("berth_background_oldest_failure_seconds", [], oldest / 1000);
    const { written, live } = store.size();
    this.#set.set("berth_journal_bytes", ["written"], written);
    this.#set.set("berth_journal_bytes", ["live"], live);
  }

  async #images(): Promise<void> {
    const { images } = this.#deps;
    this.#set.set("berth_images", [], images.list().length);
    this.#set.set("berth_pull_layers_in_flight", [], images.transfers().length);
    this.#set.set("berth_image_store_bytes", [], Number((await images.usage()).usedBytes));
  }

  #eventLoop(): void {
    // The histogram is of the time between two timers, in nanoseconds: what is over the resolution is the delay.
    const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e9 - delayResolutionMs / 1000);
    const { count } = this.#delay;
    for (const quantile of quantiles) {
      const value = count === 0 ? 0 : late(this.#delay.percentile(quantile * 100));
      this.#set.set("berth_event_loop_delay_seconds", [String(quantile)], value);
    }
    this.#set.set("berth_event_loop_delay_seconds", ["1"], count === 0 ? 0 : late(this.#delay.max));
    this.#delay.reset();
    const { active } = performance.eventLoopUtilization();
    this.#set.set("berth_event_loop_busy_seconds_total", [], active / 1000);
  }

  async #process(): Promise<void> {
    const { rss, heapUsed } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    this.#set.set("process_resident_memory_bytes", [], rss);
    this.#set.set("berth_heap_used_bytes", [], heapUsed);
    this.#set.set("process_cpu_seconds_total", [], (user + system) / 1e6);
    this.#set.set("process_start_time_seconds", [], performance.timeOrigin / 1000);
    this.#set.set("process_open_fds", [], (await readdir("/proc/self/fd")).length);
    this.#set.set("berth_build_info", [berthVersion], 1);
  }
}
