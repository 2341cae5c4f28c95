import { describe, expect, it } from "vitest";
import { flatValue, parsePressure, usageV1, usageV2 } from "./cgroup-usage.ts";

const pressure =
  "some avg10=1.50 avg60=0.20 avg300=0.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=99\n";

describe("usageV2", () => {
  it("reads the files of a group", () => {
    const usage = usageV2(
      {
        cpuStat: "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n",
        memoryCurrent: "1000\n",
        memoryStat: "anon 300\nfile 600\ninactive_file 400\npgfault 7\npgmajfault 2\n",
        memoryMax: "max\n",
        swapCurrent: "5\n",
        swapMax: "100\n",
        pidsCurrent: "3\n",
        cpuPressure: pressure,
        memoryPressure: pressure,
        ioPressure: undefined,
      },
      9n,
    );
    expect(usage).toMatchObject({
      timestamp: 9n,
      cpuTotal: 1_500_000n,
      memoryUsage: 1000n,
      memoryWorkingSet: 600n,
      memoryRss: 300n,
      memoryLimit: undefined,
      pageFaults: 7n,
      majorPageFaults: 2n,
      swapUsage: 5n,
      swapLimit: 100n,
      processes: 3n,
    });
    expect(usage.psi.cpu?.some).toEqual({ total: 12345n, avg10: 1.5, avg60: 0.2, avg300: 0 });
    expect(usage.psi.io).toBeUndefined();
  });

  it("counts nothing for controllers that are missing, and never below zero", () => {
    const none = {
      memoryCurrent: undefined,
      memoryStat: undefined,
      memoryMax: undefined,
      swapCurrent: undefined,
      swapMax: undefined,
      pidsCurrent: undefined,
      cpuPressure: undefined,
      memoryPressure: undefined,
      ioPressure: undefined,
    };
    expect(usageV2({ ...none, cpuStat: "usage_usec 1\n" }, 0n)).toMatchObject({
      memoryUsage: 0n,
      processes: 0n,
    });
    const odd = { ...none, cpuStat: "", memoryCurrent: "10", memoryStat: "inactive_file 20" };
    expect(usageV2(odd, 0n).memoryWorkingSet).toBe(0n);
  });
});

describe("usageV1", () => {
  it("reads hierarchical totals and knows its `unlimited`", () => {
    const usage = usageV1(
      {
        cpuacctUsage: "77\n",
        memoryUsage: "1000\n",
        memoryStat:
          "rss 1\ntotal_rss 300\ntotal_inactive_file 400\ntotal_pgfault 7\ntotal_pgmajfault 2\ntotal_swap 5\n",
        memoryLimit: "500\n",
        memswLimit: "600\n",
        pidsCurrent: undefined,
      },
      1n,
    );
    expect(usage).toMatchObject({
      cpuTotal: 77n,
      memoryRss: 300n,
      memoryLimit: 500n,
      swapLimit: 100n,
      swapUsage: 5n,
    });
    const unlimited = { memoryLimit: "9223372036854771712\n", memswLimit: "9223372036854771712\n" };
    const files = { cpuacctUsage: "0", memoryUsage: "0", memoryStat: "", pidsCurrent: "1" };
    expect(usageV1({ ...files, ...unlimited }, 1n)).toMatchObject({
      memoryLimit: undefined,
      swapLimit: undefined,
    });
  });
});

describe("parsePressure", () => {
  it("does without a `full` line, as cpu had none before 5.13", () => {
    expect(parsePressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")).toMatchObject({
      some: { total: 1n },
      full: { total: 0n },
    });
    expect(parsePressure(undefined)).toBeUndefined();
    expect(parsePressure("")).toBeUndefined();
  });
});

describe("flatValue", () => {
  it("finds a key wherever its line is, and no other that contains it", () => {
    const text = "rss 1\ntotal_rss 2\nrss_huge 3\nhuge 4";
    expect(["rss", "total_rss", "rss_huge", "huge"].map((key) => flatValue(text, key))).toEqual([
      1n,
      2n,
      3n,
      4n,
    ]);
    expect(["total", "ss", "rs", "hug"].map((key) => flatValue(text, key))).toEqual([0n, 0n, 0n, 0n]);
    expect(flatValue(undefined, "rss")).toBe(0n);
  });
});
