import type { MetricDescriptor } from "../../../model/metric.ts";

/** Labels that every series has. The kubelet adds none to them, and the last three are what people look for. */
export const baseLabels: readonly string[] = ["id", "name", "image", "container", "namespace", "pod"];

const counter = (name: string, help: string, ...extraLabels: readonly string[]): MetricDescriptor => ({
  name: `container_${name}`,
  help,
  extraLabels,
  type: "counter",
});

const gauge = (name: string, help: string, ...extraLabels: readonly string[]): MetricDescriptor => ({
  name: `container_${name}`,
  help,
  extraLabels,
  type: "gauge",
});

const processor = [
  counter("cpu_usage_seconds_total", "CPU time used, in seconds", "cpu"),
  counter("cpu_user_seconds_total", "CPU time used in user mode, in seconds"),
  counter("cpu_system_seconds_total", "CPU time used in kernel mode, in seconds"),
  counter("cpu_cfs_periods_total", "Enforcement periods that have passed"),
  counter("cpu_cfs_throttled_periods_total", "Periods in which the container was throttled"),
  counter("cpu_cfs_throttled_seconds_total", "Time for which the container was throttled, in seconds"),
];

const memory = [
  gauge("memory_usage_bytes", "Memory in use, whenever it was last touched"),
  gauge("memory_working_set_bytes", "Memory that can't be given back without harm"),
  gauge("memory_rss", "Anonymous memory in bytes"),
  gauge("memory_cache", "Page cache in bytes"),
  gauge("memory_mapped_file", "Mapped files in bytes"),
  gauge("memory_kernel_usage", "Kernel memory in bytes"),
  gauge("memory_swap", "Swap in use in bytes"),
  gauge("memory_max_usage_bytes", "Most memory that was in use at a time"),
  counter("memory_failcnt", "How often the memory limit was hit"),
  counter("memory_failures_total", "Page faults", "failure_type", "scope"),
  counter("oom_events_total", "Processes killed for want of memory"),
];

const storage = [
  gauge("fs_usage_bytes", "Bytes in the writable layer", "device"),
  gauge("fs_limit_bytes", "Size of the file system that the writable layer is on", "device"),
  gauge("fs_inodes_total", "Inodes of the file system that the writable layer is on", "device"),
  gauge("fs_inodes_free", "Free inodes of the file system that the writable layer is on", "device"),
  counter("fs_reads_bytes_total", "Bytes read from a block device", "device"),
  counter("fs_reads_total", "Reads from a block device", "device"),
  counter("fs_writes_bytes_total", "Bytes written to a block device", "device"),
  counter("fs_writes_total", "Writes to a block device", "device"),
  counter(
    "blkio_device_usage_total",
    "Bytes moved between the container and a block device",
    "device",
    "major",
    "minor",
    "operation",
  ),
];

const network = [
  counter("network_receive_bytes_total", "Bytes received", "interface"),
  counter("network_receive_packets_total", "Packets received", "interface"),
  counter("network_receive_packets_dropped_total", "Packets dropped while receiving", "interface"),
  counter("network_receive_errors_total", "Errors while receiving", "interface"),
  counter("network_transmit_bytes_total", "Bytes sent", "interface"),
  counter("network_transmit_packets_total", "Packets sent", "interface"),
  counter("network_transmit_packets_dropped_total", "Packets dropped while sending", "interface"),
  counter("network_transmit_errors_total", "Errors while sending", "interface"),
];

const pressure = [
  counter("pressure_cpu_waiting_seconds_total", "Time for which some task waited for a CPU, in seconds"),
  counter("pressure_cpu_stalled_seconds_total", "Time for which all tasks waited for a CPU, in seconds"),
  counter("pressure_memory_waiting_seconds_total", "Time for which some task waited for memory, in seconds"),
  counter("pressure_memory_stalled_seconds_total", "Time for which all tasks waited for memory, in seconds"),
  counter("pressure_io_waiting_seconds_total", "Time for which some task waited for storage, in seconds"),
  counter("pressure_io_stalled_seconds_total", "Time for which all tasks waited for storage, in seconds"),
];

const processes = [
  gauge("processes", "Processes in the container"),
  gauge("threads", "Threads in the container"),
  gauge("threads_max", "Most threads that the container may have; 0 is no limit"),
  gauge("file_descriptors", "Open file descriptors of the container's processes"),
  gauge("sockets", "Open sockets of the container's processes"),
  gauge("ulimits_soft", "Soft limits of the container's first process", "ulimit"),
  gauge("start_time_seconds", "When the container was started, in seconds since the epoch"),
  gauge("last_seen", "When the container was last seen, in seconds since the epoch"),
];

const limits = [
  gauge("spec_cpu_period", "CPU period that was asked for, in microseconds"),
  gauge("spec_cpu_quota", "CPU quota that was asked for, in microseconds"),
  gauge("spec_cpu_shares", "CPU shares that were asked for"),
  gauge("spec_memory_limit_bytes", "Memory limit that was asked for; 0 is none"),
  gauge("spec_memory_reservation_limit_bytes", "Memory that is protected from reclaim; 0 is none"),
  gauge("spec_memory_swap_limit_bytes", "Limit of memory and swap together that was asked for; 0 is none"),
  gauge("hugetlb_usage_bytes", "Huge pages in use", "pagesize"),
  gauge("hugetlb_max_usage_bytes", "Most huge pages that were in use at a time", "pagesize"),
];

/** Every series that ListPodSandboxMetrics can have. Never changes while the server runs: the kubelet reads it once. */
export const metricDescriptors: readonly MetricDescriptor[] = [
  ...processor,
  ...memory,
  ...storage,
  ...network,
  ...pressure,
  ...processes,
  ...limits,
];
