/** One metric. The table is the source of docs/metrics.md. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** None has values that grow with pods, images or time. */
  readonly labels: readonly string[];
  readonly help: string;
  /** Of a histogram: upper bounds, ascending. */
  readonly buckets?: readonly number[];
}

/** From a probe's exec (2 ms) to a pull that the kubelet has given up. */
const callBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];
const stepBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];
const pullBuckets = [0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600];

/** Every metric there is, in the order of the documentation. */
export const metrics = [
  {
    name: "berth_rpc_seconds",
    type: "histogram",
    labels: ["method", "code"],
    help: "CRI calls, from request to answer, by gRPC status. Of streams, how long they lived.",
    buckets: callBuckets,
  },
  {
    name: "berth_pods",
    type: "gauge",
    labels: ["state"],
    help: "Pod sandboxes by state: creating, ready, stopping, notready, removing, unknown.",
  },
  {
    name: "berth_containers",
    type: "gauge",
    labels: ["state"],
    help: "Containers by state: creating, created, running, exited, removing, unknown.",
  },
  {
    name: "berth_monitors",
    type: "gauge",
    labels: [],
    help: "Pods whose monitor is connected. Less than ready pods: some pods have lost theirs.",
  },
  {
    name: "berth_start_step_seconds",
    type: "histogram",
    labels: ["what", "step"],
    help: "Steps of making a pod (prepare, monitor, network, record), of making a container (lease, plan, intent, launch), and start.",
    buckets: stepBuckets,
  },
  {
    name: "berth_cni_call_seconds",
    type: "histogram",
    labels: ["command", "outcome"],
    help: "Calls of single CNI plugins by command (ADD, DEL, CHECK, GC, STATUS) and outcome (ok, failed).",
    buckets: stepBuckets,
  },
  {
    name: "berth_pull_seconds",
    type: "histogram",
    labels: ["outcome"],
    help: "Image pulls by outcome: ok, or a code of ERRORS.md. Calls that shared one pull count once.",
    buckets: pullBuckets,
  },
  { name: "berth_pulls_in_flight", type: "gauge", labels: [], help: "Image pulls under way." },
  {
    name: "berth_pull_layers_in_flight",
    type: "gauge",
    labels: [],
    help: "Layers that are being fetched and unpacked.",
  },
  {
    name: "berth_pull_received_bytes_total",
    type: "counter",
    labels: [],
    help: "Bytes of layers that came from registries, compressed.",
  },
  {
    name: "berth_pull_retries_total",
    type: "counter",
    labels: [],
    help: "Requests to registries that were made again or at another host.",
  },
  {
    name: "berth_rollback_step_failures_total",
    type: "counter",
    labels: ["what"],
    help: "Steps of taking back a half-made pod or container that failed; the object stays, in state unknown.",
  },
  {
    name: "berth_background_tasks",
    type: "gauge",
    labels: ["state"],
    help: "Work behind answers (removals, stops, undoing) by state: running, or failing, which is tried again until it succeeds.",
  },
  {
    name: "berth_background_oldest_failure_seconds",
    type: "gauge",
    labels: [],
    help: "Since when the longest failing of that work has not succeeded. 0: none fails.",
  },
  {
    name: "berth_journal_bytes",
    type: "gauge",
    labels: ["part"],
    help: "The journal of records: written (its length in use) and live (what a rewrite would keep).",
  },
  { name: "berth_images", type: "gauge", labels: [], help: "Images in the store." },
  {
    name: "berth_image_store_bytes",
    type: "gauge",
    labels: [],
    help: "Bytes of the image store: layers, unpacked and compressed, and documents.",
  },
  {
    name: "berth_event_loop_delay_seconds",
    type: "gauge",
    labels: ["quantile"],
    help: "How late the event loop came to a timer since the last scrape; quantile 1 is the worst.",
  },
  {
    name: "berth_event_loop_busy_seconds_total",
    type: "counter",
    labels: [],
    help: "Time that the event loop did not wait for anything.",
  },
  { name: "berth_heap_used_bytes", type: "gauge", labels: [], help: "JavaScript heap in use." },
  {
    name: "process_resident_memory_bytes",
    type: "gauge",
    labels: [],
    help: "Resident memory of berthd, without monitors and launcher.",
  },
  { name: "process_cpu_seconds_total", type: "counter", labels: [], help: "User and system time of berthd." },
  {
    name: "process_start_time_seconds",
    type: "gauge",
    labels: [],
    help: "When berthd started, since the epoch.",
  },
  { name: "process_open_fds", type: "gauge", labels: [], help: "Open file descriptors of berthd." },
  {
    name: "berth_build_info",
    type: "gauge",
    labels: ["version"],
    help: "1; the label has the version.",
  },
] as const satisfies readonly MetricDefinition[];

export type MetricName = (typeof metrics)[number]["name"];

/** The table of docs/metrics.md; a test compares it with the file. */
export function metricsTable(): readonly string[] {
  return [
    "| metric | type | labels | meaning |",
    "| --- | --- | --- | --- |",
    ...metrics.map(({ name, type, labels, help }) => {
      const shown = labels.map((label) => `\`${label}\``).join(", ");
      return `| \`${name}\` | ${type} | ${shown} | ${help} |`;
    }),
  ];
}
