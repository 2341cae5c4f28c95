/** One series of cAdvisor's vocabulary. */
export interface MetricDescriptor {
  readonly name: string;
  readonly help: string;
  /** After id, name and image, which every series has. */
  readonly extraLabels: readonly string[];
  readonly type: "counter" | "gauge";
}

export interface MetricValue {
  readonly name: string;
  readonly type: "counter" | "gauge";
  /** One for each label, in the descriptor's order. */
  readonly labels: readonly string[];
  readonly value: bigint;
}

export interface PodMetrics {
  readonly sandboxId: string;
  /** Nanoseconds since the epoch. */
  readonly timestamp: bigint;
  readonly values: readonly MetricValue[];
  readonly containers: readonly { readonly containerId: string; readonly values: readonly MetricValue[] }[];
}
