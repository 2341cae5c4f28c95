import type { Container } from "../../../model/container.ts";
import type { MetricValue, PodMetrics } from "../../../model/metric.ts";
import type { HostUsage } from "../../../ports/host-usage.ts";
import type { LayerUsageSource } from "../../../ports/layer-usage.ts";
import type { InterfaceUsage } from "../../../ports/usage.ts";
import type { LifecycleDeps } from "../../deps.ts";
import type { ContainerEntry, PodEntry } from "../../objects.ts";
import { podNetwork } from "../stats.ts";
import type { Reading } from "./container-values.ts";
import { containerReadings } from "./container-values.ts";
import { metricDescriptors } from "./descriptors.ts";

type Deps = Pick<LifecycleDeps, "cgroups" | "log" | "clock"> & {
  readonly layers: LayerUsageSource;
  readonly usage: HostUsage;
};

const types: ReadonlyMap<string, MetricValue["type"]> = new Map(
  metricDescriptors.map(({ name, type }) => [name, type]),
);

/** Metrics of those pods that are ready; what goes meanwhile is left out. */
export async function podMetricsOf(deps: Deps, pods: readonly PodEntry[]): Promise<readonly PodMetrics[]> {
  const ready = pods.filter((entry) => entry.sandbox.status.phase === "ready");
  const results = await Promise.allSettled(ready.map((entry) => podMetrics(deps, entry)));
  return results.flatMap((result, index) => {
    if (result.status === "fulfilled") return [result.value];
    const sandbox = ready[index]?.sandbox;
    if (sandbox?.status.phase === "ready") {
      deps.log.warn({ err: result.reason, sandbox: sandbox.id }, "the metrics of a pod can't be read");
    }
    return [];
  });
}

async function podMetrics(deps: Deps, entry: PodEntry): Promise<PodMetrics> {
  const { sandbox } = entry;
  const running = [...entry.containers.values()].filter(
    ({ container }) => container.status.phase === "running",
  );
  const [network, containers] = await Promise.all([
    podNetwork(deps, entry),
    Promise.all(running.map((container) => containerMetrics(deps, container))),
  ]);
  // The sandbox is called POD everywhere, after the pause container that others have.
  const base = [sandbox.id, "POD", "", "POD", ...podLabels(entry)];
  return {
    sandboxId: sandbox.id,
    timestamp: deps.clock.now(),
    values: (network?.interfaces ?? []).flatMap(networkReadings).map((reading) => labelled(reading, base)),
    containers: containers.filter((metrics) => metrics !== undefined),
  };
}

function podLabels({ sandbox }: PodEntry): readonly string[] {
  return [sandbox.config.metadata.namespace, sandbox.config.metadata.name];
}

async function containerMetrics(
  deps: Deps,
  entry: ContainerEntry,
): Promise<PodMetrics["containers"][number] | undefined> {
  const { container } = entry;
  try {
    const readings = await readingsOf(deps, container);
    const { name } = container.config.metadata;
    const base = [container.id, name, container.imageName, name, ...podLabels(entry.pod)];
    return { containerId: container.id, values: readings.map((reading) => labelled(reading, base)) };
  } catch (error) {
    if (entry.container.status.phase === "running") throw error;
    return undefined;
  }
}

async function readingsOf(deps: Deps, container: Container): Promise<readonly Reading[]> {
  const [cgroup, layer, space] = await Promise.all([
    deps.cgroups.details(container.cgroupPath),
    deps.layers.usage(container.layerDir),
    deps.usage.space(container.layerDir),
  ]);
  const [processes, names] = await Promise.all([
    deps.usage.processes(cgroup.pids),
    Promise.all(
      cgroup.blockIo.map(async ({ device }) => [device, await deps.usage.blockDeviceName(device)] as const),
    ),
  ]);
  return containerReadings({
    container,
    cgroup,
    layer,
    space,
    processes,
    deviceNames: new Map(names),
    now: deps.clock.now() / 1_000_000_000n,
  });
}

function networkReadings(usage: InterfaceUsage): readonly Reading[] {
  const { name } = usage;
  return [
    ["network_receive_bytes_total", usage.receivedBytes, name],
    ["network_receive_packets_total", usage.receivedPackets, name],
    ["network_receive_packets_dropped_total", usage.receiveDropped, name],
    ["network_receive_errors_total", usage.receiveErrors, name],
    ["network_transmit_bytes_total", usage.sentBytes, name],
    ["network_transmit_packets_total", usage.sentPackets, name],
    ["network_transmit_packets_dropped_total", usage.sendDropped, name],
    ["network_transmit_errors_total", usage.sendErrors, name],
  ];
}

function labelled([shortName, value, ...labels]: Reading, base: readonly string[]): MetricValue {
  const name = `container_${shortName}`;
  return { name, type: types.get(name) ?? "gauge", labels: [...base, ...labels], value };
}
