import { expect, it } from "vitest";
import type { CgroupUsage } from "../../ports/cgroups.ts";
import { detailsV1, detailsV2, parseIoStat, parseThrottle } from "./cgroup-details.ts";

const usage: CgroupUsage = {
  timestamp: 1n,
  cpuTotal: 5n,
  memoryUsage: 100n,
  memoryWorkingSet: 90n,
  memoryRss: 10n,
  memoryLimit: undefined,
  pageFaults: 0n,
  majorPageFaults: 0n,
  swapUsage: 0n,
  swapLimit: undefined,
  processes: 2n,
  psi: { cpu: undefined, memory: undefined, io: undefined },
};

const readerOf = (files: Readonly<Record<string, string>>) => (file: string) => files[file];

it("reads v2's files", () => {
  const files = {
    "cpu.stat": "usage_usec 9\nuser_usec 6\nsystem_usec 3\nnr_periods 4\nnr_throttled 1\nthrottled_usec 2\n",
    "memory.stat": "file 70\nfile_mapped 20\nkernel 8\n",
    "memory.events": "low 0\nmax 3\noom 1\noom_kill 2\n",
    "memory.peak": "150\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
    "hugetlb.2MB.current": "4096\n",
    "cgroup.procs": "0\n12\n13\n",
  };
  expect(detailsV2(readerOf(files), usage, ["2MB", "1GB"])).toMatchObject({
    cpuTotal: 5n,
    cpuUser: 6000n,
    cpuSystem: 3000n,
    periods: 4n,
    throttledPeriods: 1n,
    throttledTime: 2000n,
    memoryCache: 70n,
    memoryMappedFile: 20n,
    memoryKernel: 8n,
    memoryMaxUsage: 150n,
    memoryFailures: 3n,
    oomKills: 2n,
    threadsLimit: undefined,
    blockIo: [{ device: "8:0", readBytes: 1n, writtenBytes: 2n, reads: 3n, writes: 4n }],
    hugepages: [{ pageSize: "2MB", usage: 4096n, maxUsage: 4096n }],
    pids: [12, 13],
  });
});

it("reads v1's files", () => {
  const files = {
    "cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 2\n",
    "cpuacct.usage_user": "6\n",
    "cpuacct.usage_sys": "3\n",
    "memory.stat": "cache 1\ntotal_cache 70\ntotal_mapped_file 20\n",
    "memory.max_usage_in_bytes": "150\n",
    "memory.failcnt": "3\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "pids.max": "20\n",
    "memory/cgroup.procs": "12\n",
  };
  expect(detailsV1(readerOf(files), usage, [])).toMatchObject({
    cpuUser: 6n,
    throttledTime: 2n,
    memoryCache: 70n,
    memoryMaxUsage: 150n,
    oomKills: 2n,
    threadsLimit: 20n,
    blockIo: [],
    pids: [12],
  });
});

it("counts nothing where nothing is counted", () => {
  expect(detailsV2(() => undefined, usage, ["2MB"])).toMatchObject({
    blockIo: [],
    hugepages: [],
    pids: [],
    oomKills: 0n,
  });
  expect(parseIoStat("8:0 \n")).toEqual([
    { device: "8:0", readBytes: 0n, writtenBytes: 0n, reads: 0n, writes: 0n },
  ]);
});

it("joins v1's two files by device", () => {
  const bytes = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:16 Read 1\nTotal 30\n";
  const operations = "8:0 Read 2\n8:0 Write 3\nTotal 5\n";
  expect(parseThrottle(bytes, operations)).toEqual([
    { device: "8:0", readBytes: 10n, writtenBytes: 20n, reads: 2n, writes: 3n },
    { device: "8:16", readBytes: 1n, writtenBytes: 0n, reads: 0n, writes: 0n },
  ]);
});
