import { expect, it } from "vitest";
import type { Container } from "../../../model/container.ts";
import type { CgroupDetails } from "../../../ports/cgroups.ts";
import { containerReadings } from "./container-values.ts";
import { metricDescriptors } from "./descriptors.ts";

const line = { total: 2_000_000n, avg10: 0, avg60: 0, avg300: 0 };
const psi = { some: line, full: { ...line, total: 1_000_000n } };

const cgroup: CgroupDetails = {
  timestamp: 0n,
  cpuTotal: 2_500_000_000n,
  memoryUsage: 1n,
  memoryWorkingSet: 1n,
  memoryRss: 1n,
  memoryLimit: undefined,
  pageFaults: 7n,
  majorPageFaults: 1n,
  swapUsage: 0n,
  swapLimit: undefined,
  processes: 3n,
  psi: { cpu: psi, memory: psi, io: psi },
  cpuUser: 0n,
  cpuSystem: 0n,
  periods: 0n,
  throttledPeriods: 0n,
  throttledTime: 0n,
  memoryCache: 0n,
  memoryMappedFile: 0n,
  memoryKernel: 0n,
  memoryMaxUsage: 0n,
  memoryFailures: 0n,
  oomKills: 0n,
  threadsLimit: undefined,
  blockIo: [{ device: "8:0", readBytes: 1n, writtenBytes: 2n, reads: 3n, writes: 4n }],
  hugepages: [{ pageSize: "2MB", usage: 0n, maxUsage: 0n }],
  pids: [1],
};

const readings = containerReadings({
  container: {
    createdAt: 0n,
    status: { phase: "running", pid: 1, startTime: 0n, startedAt: 5_000_000_000n },
    resources: { unified: { "memory.low": "max" }, cpuQuota: -1n },
  } as unknown as Container,
  cgroup,
  layer: { timestamp: 0n, usedBytes: 10n, usedInodes: 1n, mountpoint: "/l" },
  space: { device: "/dev/vda", totalBytes: 100n, totalInodes: 50n, freeInodes: 20n },
  processes: { processes: 2, fileDescriptors: 9, sockets: 1, openFilesLimit: 1024n },
  deviceNames: new Map([["8:0", "/dev/sda"]]),
  now: 9n,
});

it("has a descriptor for every reading, with as many labels", () => {
  const labels = new Map(metricDescriptors.map(({ name, extraLabels }) => [name, extraLabels.length]));
  for (const [name, , ...values] of readings)
    expect([name, labels.get(`container_${name}`)]).toEqual([name, values.length]);
});

it("has a reading for every descriptor but the network's, which is the pod's", () => {
  const read = new Set(readings.map(([name]) => `container_${name}`));
  const missing = metricDescriptors.filter(({ name }) => !read.has(name)).map(({ name }) => name);
  expect(missing.every((name) => name.startsWith("container_network_"))).toBe(true);
});

it("gives whole seconds, names of devices and the kernel's defaults", () => {
  const value = (name: string) => readings.find(([other]) => other === name)?.slice(1);
  expect(value("cpu_usage_seconds_total")).toEqual([2n, "total"]);
  expect(value("pressure_io_stalled_seconds_total")).toEqual([1n]);
  expect(value("start_time_seconds")).toEqual([5n]);
  expect(value("blkio_device_usage_total")).toEqual([1n, "/dev/sda", "8", "0", "Read"]);
  expect(value("spec_cpu_shares")).toEqual([1024n]);
  expect(value("spec_cpu_quota")).toEqual([0n]);
  expect(value("spec_memory_reservation_limit_bytes")).toEqual([0n]);
});

it("describes each series once", () => {
  const names = metricDescriptors.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});
