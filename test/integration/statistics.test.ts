import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Metric, NamespaceMode, type PodSandboxMetrics } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

/** What a kubelet with cAdvisor shows, and critest asks for. */
const names = `
  blkio_device_usage_total cpu_cfs_periods_total cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total
  cpu_system_seconds_total cpu_usage_seconds_total cpu_user_seconds_total file_descriptors fs_inodes_free fs_inodes_total
  fs_limit_bytes fs_reads_bytes_total fs_reads_total fs_usage_bytes fs_writes_bytes_total fs_writes_total
  hugetlb_max_usage_bytes hugetlb_usage_bytes last_seen memory_cache memory_failcnt memory_failures_total
  memory_kernel_usage memory_mapped_file memory_max_usage_bytes memory_rss memory_swap memory_usage_bytes
  memory_working_set_bytes network_receive_bytes_total network_receive_errors_total network_receive_packets_dropped_total
  network_receive_packets_total network_transmit_bytes_total network_transmit_errors_total
  network_transmit_packets_dropped_total network_transmit_packets_total oom_events_total pressure_cpu_stalled_seconds_total
  pressure_cpu_waiting_seconds_total pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total
  pressure_memory_stalled_seconds_total pressure_memory_waiting_seconds_total processes sockets spec_cpu_period
  spec_cpu_quota spec_cpu_shares spec_memory_limit_bytes spec_memory_reservation_limit_bytes
  spec_memory_swap_limit_bytes start_time_seconds threads threads_max ulimits_soft`
  .trim()
  .split(/\s+/)
  .map((name) => `container_${name}`);

/** Only where the kernel counts it: pressure and huge pages need v2's files, devices need a disk that counts. */
const optional = /_pressure_|_hugetlb_|_blkio_|_fs_(reads|writes)_/;

/** gRPC's NOT_FOUND, FAILED_PRECONDITION and UNIMPLEMENTED. */
const notFound = 5;
const failedPrecondition = 9;
const unimplemented = 12;

/** A pod below a group of its own, as the kubelet makes them. */
const ownGroup = (name: string) => ({
  linux: { cgroupParent: `${process.env.BERTH_TEST_CGROUP ?? ""}/${name}` },
});

describe("a pod's statistics", () => {
  it("count processor, memory, processes, network and containers", async () => {
    await using pod = await TestPod.run(server, { ...ownGroup("stats"), labels: { app: "one" } });
    const container = await pod.script("sleep 60 & sleep 60 & wait");
    await container.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; ping -c 2 -W 1 127.0.0.1 || true");
    await container.sh(`ping -c 3 -W 1 $(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p') || true`);
    const { stats } = await server.runtime.podSandboxStats({ podSandboxId: pod.id });
    expect(stats?.attributes).toMatchObject({
      id: pod.id,
      metadata: { namespace: "test" },
      labels: { app: "one" },
    });
    const linux = stats?.linux;
    expect(linux?.cpu?.usageCoreNanoSeconds?.value).toBeGreaterThan(1_000_000n);
    expect(linux?.cpu?.timestamp).toBeGreaterThan(0n);
    expect(linux?.process?.processCount?.value ?? 0n).toBeGreaterThanOrEqual(0n);
    expect(linux?.network?.defaultInterface?.name).toBe("eth0");
    expect(linux?.network?.defaultInterface?.rxBytes?.value).toBeGreaterThan(0n);
    expect(linux?.network?.interfaces).toEqual([]);
    expect(linux?.containers.map(({ attributes }) => attributes?.id)).toEqual([container.id]);
    const used = linux?.containers[0]?.cpu?.usageCoreNanoSeconds?.value ?? 0n;
    expect(linux?.cpu?.usageCoreNanoSeconds?.value).toBeGreaterThanOrEqual(used);
  });

  it("of pods in one group are each pod's own", async () => {
    await using busy = await TestPod.run(server);
    await using idle = await TestPod.run(server);
    const worker = await busy.script("sleep 60");
    await idle.script("sleep 60");
    await worker.sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    const cpuOf = async (pod: TestPod) => {
      const { stats } = await server.runtime.podSandboxStats({ podSandboxId: pod.id });
      return stats?.linux?.cpu?.usageCoreNanoSeconds?.value ?? 0n;
    };
    expect(await cpuOf(busy)).toBeGreaterThan((await cpuOf(idle)) + 10_000_000n);
  });

  it("have no network for a pod on the host's", async () => {
    const linux = { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } };
    await using pod = await TestPod.run(server, { linux });
    const { stats } = await server.runtime.podSandboxStats({ podSandboxId: pod.id });
    expect(stats?.linux?.network).toBeUndefined();
  });

  it("are listed and streamed by filter", async () => {
    await using one = await TestPod.run(server, { labels: { app: "one" } });
    await using two = await TestPod.run(server, { labels: { app: "two" } });
    const idsOf = async (filter?: object) => {
      const request = filter === undefined ? {} : { filter };
      const { stats } = await server.runtime.listPodSandboxStats(request);
      return stats.map(({ attributes }) => attributes?.id).toSorted();
    };
    expect(await idsOf()).toEqual([one.id, two.id].toSorted());
    expect(await idsOf({ labelSelector: { app: "two" } })).toEqual([two.id]);
    expect(await idsOf({ id: one.id })).toEqual([one.id]);
    expect(await idsOf({ id: "0".repeat(64) })).toEqual([]);
  });

  it("need a pod that is there and ready", async () => {
    await expect(server.runtime.podSandboxStats({ podSandboxId: "" })).rejects.not.toMatchObject({
      code: unimplemented,
    });
    await expect(server.runtime.podSandboxStats({ podSandboxId: "0".repeat(64) })).rejects.toMatchObject({
      code: notFound,
    });
    await using pod = await TestPod.run(server);
    await server.runtime.stopPodSandbox({ podSandboxId: pod.id });
    await expect(server.runtime.podSandboxStats({ podSandboxId: pod.id })).rejects.toMatchObject({
      code: failedPrecondition,
    });
    expect((await server.runtime.listPodSandboxStats({})).stats).toEqual([]);
  });
});

describe("metrics", () => {
  it("are described, each with help and labels", async () => {
    const { descriptors } = await server.runtime.listMetricDescriptors({});
    expect(descriptors.map(({ name }) => name).toSorted()).toEqual(names.toSorted());
    for (const { help, labelKeys } of descriptors) {
      expect(help).not.toBe("");
      expect(labelKeys.slice(0, 6)).toEqual(["id", "name", "image", "container", "namespace", "pod"]);
    }
  });

  it("have a value for every name that this kernel can count, with the labels described", async ({
    skip,
  }) => {
    // The view of cgroup v2 on a kernel that has given its controllers to v1.
    const root = "/sys/fs/cgroup/cgroup.controllers";
    if (existsSync(root) && !readFileSync(root, "utf8").includes("memory")) skip("no memory controller");
    await using pod = await TestPod.run(server, ownGroup("metrics"));
    const container = await pod.script("sleep 60", {
      linux: {
        resources: {
          cpuPeriod: 100_000n,
          cpuQuota: 20_000n,
          cpuShares: 1024n,
          memoryLimitInBytes: 64n << 20n,
          memorySwapLimitInBytes: 64n << 20n,
        },
      },
    });
    await container.sh("for i in $(seq 10); do echo hi > /file$i; done; sync");
    const { descriptors } = await server.runtime.listMetricDescriptors({});
    const { podMetrics } = await server.runtime.listPodSandboxMetrics({});
    const own = podMetrics.find(({ podSandboxId }) => podSandboxId === pod.id);
    const byName = groupByName(own);
    for (const { name, labelKeys } of descriptors) {
      const values = byName.get(name) ?? [];
      if (values.length === 0) expect(name).toMatch(optional);
      for (const { labelValues, value } of values) {
        expect(labelValues).toHaveLength(labelKeys.length);
        expect(value).toBeDefined();
      }
    }
    const value = (name: string) => byName.get(`container_${name}`)?.[0]?.value?.value ?? -1n;
    expect(value("spec_cpu_quota")).toBe(20_000n);
    expect(value("spec_memory_limit_bytes")).toBe(64n << 20n);
    expect(value("processes")).toBeGreaterThanOrEqual(1n);
    expect(value("file_descriptors")).toBeGreaterThanOrEqual(3n);
    expect(value("fs_usage_bytes")).toBeGreaterThan(0n);
    expect(value("fs_inodes_total")).toBeGreaterThan(value("fs_inodes_free") - 1n);
    expect(value("memory_usage_bytes")).toBeGreaterThan(0n);
    expect(value("ulimits_soft")).toBe(1024n);
    expect(value("network_receive_bytes_total")).toBeGreaterThanOrEqual(0n);
    expect(value("start_time_seconds")).toBeGreaterThan(1_700_000_000n);
  });
});

function groupByName(metrics: PodSandboxMetrics | undefined): ReadonlyMap<string, readonly Metric[]> {
  const all = [
    ...(metrics?.metrics ?? []),
    ...(metrics?.containerMetrics ?? []).flatMap((one) => one.metrics),
  ];
  return Map.groupBy(all, ({ name }) => name);
}
