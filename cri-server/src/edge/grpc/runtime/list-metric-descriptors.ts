import type {
  ListMetricDescriptorsRequest,
  ListMetricDescriptorsResponse,
} from "../../../../../proto/gen/api.ts";
import { baseLabels, metricDescriptors } from "../../../domain/sandbox/metrics/descriptors.ts";
import { presentDescriptor } from "../../../present/metrics.ts";
import type { UnaryHandler } from "../handler.ts";

export function listMetricDescriptors(): UnaryHandler<
  ListMetricDescriptorsRequest,
  ListMetricDescriptorsResponse
> {
  const descriptors = metricDescriptors.map((descriptor) => presentDescriptor(descriptor, baseLabels));
  return async () => ({ descriptors });
}
