import { describe, expect, it } from "vitest";
import { ListContainerStatsResponse, StreamContainerStatsResponse } from "../../../../proto/gen/api.ts";
import type { CgroupUsage } from "../../ports/cgroups.ts";
import type { ContainerUsage } from "../../ports/usage.ts";
import { presentContainerStats } from "../../present/stats.ts";
import { encodeStats } from "./encoded-stats.ts";

const cgroup: CgroupUsage = {
  timestamp: 1n,
  cpuTotal: 2n,
  memoryUsage: 3n,
  memoryWorkingSet: 4n,
  memoryRss: 5n,
  memoryLimit: 6n,
  pageFaults: 7n,
  majorPageFaults: 8n,
  swapUsage: 9n,
  swapLimit: undefined,
  processes: 10n,
  psi: { cpu: undefined, memory: undefined, io: undefined },
};

const usageOf = (id: string, cpuTotal: bigint): ContainerUsage => {
  const metadata = { name: `name-${id}`, attempt: 1 };
  const container = {
    id,
    config: { metadata, labels: { a: "b", c: "" }, annotations: { [id]: "x".repeat(300) } },
  };
  const layer = { timestamp: 11n, usedBytes: 12n, usedInodes: 13n, mountpoint: "/layer" };
  // The parts of a record that figures show.
  return { container, cgroup: { ...cgroup, cpuTotal }, layer } as unknown as ContainerUsage;
};

describe("encodeStats", () => {
  it("says what the codec says, for either message", () => {
    const usages = [usageOf("one", 1n), usageOf("two", 0n)];
    const stats = usages.map(presentContainerStats);
    const wanted = Buffer.from(ListContainerStatsResponse.encode({ stats }).finish());
    expect(encodeStats(usages)).toEqual(wanted);
    expect(StreamContainerStatsResponse.decode(encodeStats(usages)).containerStats).toEqual(
      StreamContainerStatsResponse.decode(wanted).containerStats,
    );
    expect(encodeStats([])).toEqual(Buffer.alloc(0));
  });

  it("gives new figures of a container that it knows", () => {
    const first = usageOf("one", 1n);
    encodeStats([first]);
    const { stats } = ListContainerStatsResponse.decode(
      encodeStats([{ ...first, cgroup: { ...cgroup, cpuTotal: 77n } }]),
    );
    expect(stats[0]?.cpu?.usageCoreNanoSeconds?.value).toBe(77n);
    expect(stats[0]?.attributes?.id).toBe("one");
  });
});
