import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, onNode, runtimeErrors } from "../kubernetes/cluster.ts";
import { patience } from "../lib/patience.ts";
import {
  type ContainerFigures,
  containerStatuses,
  containersReady,
  curl,
  execute,
  figures,
  Group,
  isV2,
  kubeletLog,
  metric,
  type Pod,
  type PodFigures,
  restartKubelet,
  staticPod,
} from "./alone.ts";

const gates = ["EventedPLEG", "CRIListStreaming", "PodAndContainerStatsFromCRI"];
const web = staticPod("standalone.yaml");

let logged = 0;
let pod: Pod;

async function group(name: string): Promise<Group> {
  const status = (await containerStatuses()).find((one) => one.name === name);
  return new Group(status?.containerID ?? "");
}

/** What the kernel has counted on the pod's side of its one link. */
function traffic(pid: number): { readonly received: number; readonly sent: number } {
  const line = readFileSync(`/proc/${pid}/net/dev`, "utf8")
    .split("\n")
    .find((one) => one.includes("eth0:"));
  const numbers = line?.split(":")[1]?.trim().split(/\s+/).map(Number) ?? [];
  return { received: numbers[0] ?? 0, sent: numbers[8] ?? 0 };
}

/** What is compared: a name, the kubelet's figure, the kernel's, and how far they may be apart beside a tenth. */
type Pair = readonly [string, number | undefined, number, number];

const mebibyte = 1 << 20;

function ofContainer({ name, cpu, memory }: ContainerFigures, group: Group | undefined): readonly Pair[] {
  if (group === undefined) throw new Error(`no group of ${name}`);
  return [
    [`${name}: processor`, cpu.usageCoreNanoSeconds, group.cpuNanoseconds, 1e9],
    [`${name}: memory`, memory.workingSetBytes, group.workingSet, 2 * mebibyte],
  ];
}

function ofPod(summary: PodFigures, groups: readonly Group[]): readonly Pair[] {
  const sum = (read: (group: Group) => number): number =>
    groups.reduce((total, group) => total + read(group), 0);
  const { received, sent } = traffic(groups[0]?.pid ?? 0);
  const { cpu, memory, process_stats, network } = summary;
  return [
    ["processor", cpu.usageCoreNanoSeconds, sum(({ cpuNanoseconds }) => cpuNanoseconds), 2e9],
    ["memory", memory.workingSetBytes, sum(({ workingSet }) => workingSet), 8 * mebibyte],
    ["processes", process_stats?.process_count, sum(({ processes }) => processes), 2],
    ["received", network?.rxBytes, received, 20_000],
    ["sent", network?.txBytes, sent, 20_000],
  ];
}

// As standalone.test.ts, but by the ways that the kubelet has to be told to use.
describe("a kubelet with its newer ways", () => {
  beforeAll(async () => {
    logged = await restartKubelet(gates.map((gate) => `${gate}: true`).join(", "));
    web.add();
    pod = await containersReady(2);
  });
  afterAll(() => web.remove(), 90_000 * patience);

  it("runs a pod, healthy, and falls back from none of them", async () => {
    expect(await curl(`http://${pod.status.podIP}/`)).toBe("made before");
    expect(await curl("http://127.0.0.1:10248/healthz")).toBe("ok");
    const metrics = await curl("http://127.0.0.1:10255/metrics");
    for (const gate of gates)
      expect(metrics).toMatch(
        new RegExp(`^kubernetes_feature_enabled{name="${gate}",stage="[A-Z]*"} 1$`, "m"),
      );
    expect(kubeletLog(logged)).not.toMatch(/fall(ing)? back|disabling container-termination/i);
  });

  it("hears of a container's end and start by events, and looks after the pod at once", {
    timeout: 60_000 * patience,
  }, async () => {
    expect(await metric("kubelet_evented_pleg_connection_success_count")).toBeGreaterThanOrEqual(1);
    expect(await metric("kubelet_evented_pleg_connection_error_count")).toBe(0);
    const heard = await metric("kubelet_evented_pleg_connection_latency_seconds_count");
    const looked = await metric("kubelet_pleg_pod_relist_duration_seconds_count");
    await onNode("kill", "-9", String((await group("counter")).pid));
    await eventually("it runs again", 20, async () => {
      const status = (await containerStatuses()).find(({ name }) => name === "counter");
      return status?.restartCount === 1 && status.ready;
    });
    // Stopped, created, started.
    const events = (await metric("kubelet_evented_pleg_connection_latency_seconds_count")) - heard;
    expect(events).toBeGreaterThanOrEqual(3);
    expect(await metric("kubelet_pleg_pod_relist_duration_seconds_count")).toBeGreaterThan(looked);
  });

  it("reports what the kernel counts: processor, memory, processes, network, files", {
    timeout: 150_000 * patience,
  }, async () => {
    const blob = 8 * mebibyte;
    // Into the layer, and into the volume that is served.
    for (const file of ["/blob", "/usr/share/nginx/html/blob"])
      await execute(pod, "web", `dd if=/dev/zero of=${file} bs=1M count=8`);
    for (let index = 0; index < 3; index++)
      await onNode("curl", "-sf", "-o", "/dev/null", `http://${pod.status.podIP}/blob`);
    const groups = new Map([
      ["web", await group("web")],
      ["counter", await group("counter")],
    ]);
    await eventually("the summary says the same", 90, async () => {
      const summary = await figures();
      if (summary === undefined) return false;
      const pairs: readonly Pair[] = [
        ...ofPod(summary, [...groups.values()]),
        ...summary.containers.flatMap((one) => ofContainer(one, groups.get(one.name))),
        [
          "web: files",
          summary.containers.find(({ name }) => name === "web")?.rootfs?.usedBytes,
          blob,
          mebibyte,
        ],
      ];
      const wrong = pairs.filter(
        ([, value, real, slack]) => value === undefined || Math.abs(value - real) > real / 10 + slack,
      );
      if (wrong.length > 0) throw new Error(JSON.stringify(wrong));
      return (summary.network?.txBytes ?? 0) > 3 * blob;
    });
    if (isV2 && existsSync("/proc/pressure/cpu")) {
      const summary = await figures();
      expect(summary?.cpu.psi?.some.total).toBeGreaterThanOrEqual(0);
      expect(summary?.containers[0]?.memory.psi?.some.total).toBeGreaterThanOrEqual(0);
    }
  });

  it("has the runtime's metrics in the place of cAdvisor's", async () => {
    const text = await curl("http://127.0.0.1:10255/metrics/cadvisor");
    expect(text).toMatch(/^container_cpu_usage_seconds_total\{.*container="web".* \d/m);
    expect(text).toMatch(
      /^container_network_transmit_bytes_total\{.*namespace="default",pod="web-berth-node".* [1-9]/m,
    );
  });

  it("ends the pod with its file, and has nothing to complain of", {
    timeout: 90_000 * patience,
  }, async () => {
    await web.remove();
    expect(runtimeErrors("gates", logged)).toEqual([]);
  });
});
