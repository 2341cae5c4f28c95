import { describe, expect, it } from "vitest";
import type { Resources } from "../../model/resources.ts";
import { mergeResources, patchOf } from "./cgroup-patch.ts";
import { checkUnified, valuesV1, valuesV2, weightOfShares } from "./cgroup-values.ts";

const mega = 1n << 20n;
const pairs = (writes: ReturnType<typeof valuesV1>) => writes.map(({ file, value }) => `${file}=${value}`);

describe("weightOfShares", () => {
  // The table of kubernetes/enhancements#2254's successor: ends and default meet exactly.
  it.each([
    [2n, 1],
    [1024n, 100],
    [262_144n, 10_000],
    [1n, 1],
    [102n, 17],
    [512n, 59],
    [2048n, 174],
  ])("%d is %d", (shares, weight) => {
    expect(weightOfShares(shares)).toBe(weight);
  });
});

describe("valuesV2", () => {
  it.each<[string, Resources, string[]]>([
    ["nothing", {}, []],
    ["zeros", { cpuShares: 0n, cpuQuota: 0n, cpuPeriod: 0n, memoryLimit: 0n, cpusetCpus: "" }, []],
    ["quota and period", { cpuQuota: 50_000n, cpuPeriod: 100_000n }, ["cpu.max=50000 100000"]],
    ["quota alone", { cpuQuota: 50_000n }, ["cpu.max=50000"]],
    ["no quota", { cpuQuota: -1n, cpuPeriod: 100_000n }, ["cpu.max=max 100000"]],
    ["memory", { memoryLimit: 64n * mega }, ["memory.max=67108864"]],
    [
      "memory without swap",
      { memoryLimit: 64n * mega, memorySwapLimit: 64n * mega },
      ["memory.max=67108864", "memory.swap.max=0"],
    ],
    [
      "memory with some swap",
      { memoryLimit: 64n * mega, memorySwapLimit: 96n * mega },
      ["memory.max=67108864", "memory.swap.max=33554432"],
    ],
    ["all swap", { memorySwapLimit: -1n }, ["memory.swap.max=max"]],
    ["processes", { pidsLimit: -1n }, ["pids.max=max"]],
    [
      "huge pages",
      { hugepageLimits: [{ pageSize: "2MB", limit: 0n }] },
      ["hugetlb.2MB.max=0", "hugetlb.2MB.rsvd.max=0"],
    ],
    [
      "unified, which comes last",
      { unified: { "memory.high": "1", "memory.max": "5" }, memoryLimit: mega },
      ["memory.max=1048576", "memory.high=1", "memory.max=5"],
    ],
  ])("of %s", (_, resources, expected) => {
    expect(pairs(valuesV2(resources))).toEqual(expected);
  });

  it("refuses swap that makes no sense", () => {
    expect(() => valuesV2({ memorySwapLimit: mega })).toThrow("needs a memory_limit_in_bytes");
    expect(() => valuesV2({ memoryLimit: 2n * mega, memorySwapLimit: mega })).toThrow("is below");
  });

  it("names the field of what the client asked for, and none for a limit of nothing", () => {
    const writes = valuesV2({
      cpuShares: 2n,
      pidsLimit: 10n,
      hugepageLimits: [
        { pageSize: "2MB", limit: 0n },
        { pageSize: "1GB", limit: 1n << 30n },
      ],
    });
    expect(writes.map(({ field }) => field)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      "hugepage_limits 1GB",
      undefined,
    ]);
  });
});

describe("valuesV1", () => {
  it("writes shares as they are, the period before the quota, memory before memory+swap", () => {
    expect(
      pairs(
        valuesV1({
          cpuShares: 10n,
          cpuQuota: -1n,
          cpuPeriod: 50_000n,
          memoryLimit: mega,
          memorySwapLimit: 2n * mega,
          cpusetCpus: "0-1",
          pidsLimit: 5n,
          unified: { "memory.high": "1" },
        }),
      ),
    ).toEqual([
      "cpu.shares=10",
      "cpu.cfs_period_us=50000",
      "cpu.cfs_quota_us=-1",
      "cpuset.cpus=0-1",
      "memory.limit_in_bytes=1048576",
      "memory.memsw.limit_in_bytes=2097152",
      "pids.max=5",
    ]);
  });
});

describe("checkUnified", () => {
  it.each(["memory.max", "hugetlb.2MB.max", "io.bfq.weight", "memory.oom.group"])("accepts %s", (file) => {
    expect(() => checkUnified({ [file]: "1" })).not.toThrow();
  });
  it.each(["cgroup.procs", "../memory.max", "a/b.c", "memory", "", "memory..max", "Memory.max"])(
    "refuses %j",
    (file) => {
      expect(() => checkUnified({ [file]: "1" })).toThrow("resources.unified");
    },
  );
});

describe("an update", () => {
  const before: Resources = {
    cpuShares: 10n,
    cpuQuota: 1000n,
    cpuPeriod: 2000n,
    memoryLimit: mega,
    oomScoreAdj: 5,
    hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
    unified: { "memory.low": "1" },
  };

  it.each<[string, Resources, Resources]>([
    ["nothing", {}, before],
    ["empty fields", { cpusetCpus: "", cpuShares: 0n, cpuQuota: 0n }, before],
    ["a cpuset", { cpusetCpus: "3" }, { ...before, cpusetCpus: "3" }],
    ["oom_score_adj, which is the process's", { oomScoreAdj: 100 }, before],
    [
      "one more page size",
      { hugepageLimits: [{ pageSize: "1GB", limit: 7n }] },
      {
        ...before,
        hugepageLimits: [
          { pageSize: "2MB", limit: 0n },
          { pageSize: "1GB", limit: 7n },
        ],
      },
    ],
    [
      "one more file",
      { unified: { "memory.min": "2" } },
      { ...before, unified: { "memory.low": "1", "memory.min": "2" } },
    ],
  ])("with %s", (_, patch, after) => {
    expect(mergeResources(before, patch)).toEqual(after);
  });

  it("writes what it names and what shares a file with that", () => {
    const after = mergeResources(before, { cpuQuota: 500n });
    expect(patchOf(after, { cpuQuota: 500n })).toEqual({ cpuQuota: 500n, cpuPeriod: 2000n });
    expect(patchOf(before, { cpusetCpus: "" })).toEqual({});
  });
});
