import type { MetricDescriptor, PodSandboxMetrics } from "../../../proto/gen/api.ts";
import { MetricType } from "../../../proto/gen/api.ts";
import type { MetricDescriptor as Descriptor, MetricValue, PodMetrics } from "../model/metric.ts";

export function presentDescriptor(
  { name, help, extraLabels }: Descriptor,
  baseLabels: readonly string[],
): MetricDescriptor {
  return { name, help, labelKeys: [...baseLabels, ...extraLabels] };
}

export function presentPodMetrics({
  sandboxId,
  timestamp,
  values,
  containers,
}: PodMetrics): PodSandboxMetrics {
  const present = ({ name, type, labels, value }: MetricValue) => ({
    name,
    timestamp,
    metricType: type === "counter" ? MetricType.COUNTER : MetricType.GAUGE,
    labelValues: [...labels],
    value: { value },
  });
  return {
    podSandboxId: sandboxId,
    metrics: values.map(present),
    containerMetrics: containers.map((container) => ({
      containerId: container.containerId,
      metrics: container.values.map(present),
    })),
  };
}
