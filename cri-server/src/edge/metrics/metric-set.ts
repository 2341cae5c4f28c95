import type { MetricDefinition } from "./definitions.ts";

/** The values of one combination of labels: a number, or a histogram's counts by bucket, its sum last. */
interface Series {
  readonly labels: string;
  value: number;
  readonly counts: number[];
}

/** One metric with all its series. */
class Metric {
  readonly definition: MetricDefinition;
  readonly #series = new Map<string, Series>();

  constructor(definition: MetricDefinition) {
    this.definition = definition;
  }

  series(values: readonly string[]): Series {
    const key = values.length === 1 ? (values[0] ?? "") : values.join("\0");
    let found = this.#series.get(key);
    if (found === undefined) {
      const { labels, buckets = [] } = this.definition;
      const pairs = labels.map((label, index) => `${label}="${escaped(values[index] ?? "")}"`);
      found = { labels: pairs.join(","), value: 0, counts: buckets.map(() => 0) };
      this.#series.set(key, found);
    }
    return found;
  }

  render(): string {
    const { name, type, help } = this.definition;
    const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
    for (const one of this.#series.values()) {
      lines.push(
        ...(type === "histogram" ? this.#histogram(one) : [`${named(name, one.labels)} ${one.value}`]),
      );
    }
    return `${lines.join("\n")}\n`;
  }

  #histogram({ labels, value, counts }: Series): readonly string[] {
    const { name, buckets = [] } = this.definition;
    const prefix = labels === "" ? "" : `${labels},`;
    // The last count is of what no bound holds; each line counts everything up to its bound.
    let total = 0;
    const lines = buckets.map((bound, index) => {
      total += counts[index] ?? 0;
      return `${name}_bucket{${prefix}le="${bound}"} ${total}`;
    });
    total += counts[buckets.length] ?? 0;
    return [
      ...lines,
      `${name}_bucket{${prefix}le="+Inf"} ${total}`,
      `${named(`${name}_sum`, labels)} ${value}`,
      `${named(`${name}_count`, labels)} ${total}`,
    ];
  }
}

function named(name: string, labels: string): string {
  return labels === "" ? name : `${name}{${labels}}`;
}

function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (found) => (found === "\n" ? "\\n" : `\\${found}`));
}

/**
 * Counters, gauges and histograms, and their text for Prometheus (exposition format 0.0.4). The usual library does the same
 * for 1.4 MiB of memory and 170 kB of program.
 */
export class MetricSet<Name extends string> {
  readonly #metrics: ReadonlyMap<Name, Metric>;

  constructor(definitions: readonly (MetricDefinition & { readonly name: Name })[]) {
    this.#metrics = new Map(definitions.map((definition) => [definition.name, new Metric(definition)]));
  }

  /** Adds to a counter. */
  add(name: Name, labels: readonly string[], amount = 1): void {
    this.#metric(name).series(labels).value += amount;
  }

  /** A gauge's, or the whole of a counter that somebody else counts. */
  set(name: Name, labels: readonly string[], value: number): void {
    this.#metric(name).series(labels).value = value;
  }

  /** One value of a histogram. */
  observe(name: Name, labels: readonly string[], value: number): void {
    const metric = this.#metric(name);
    const series = metric.series(labels);
    const buckets = metric.definition.buckets ?? [];
    let index = 0;
    while (index < buckets.length && value > (buckets[index] ?? 0)) {
      index += 1;
    }
    series.value += value;
    series.counts[index] = (series.counts[index] ?? 0) + 1;
  }

  render(): string {
    return [...this.#metrics.values()].map((metric) => metric.render()).join("");
  }

  #metric(name: Name): Metric {
    const metric = this.#metrics.get(name);
    if (metric === undefined) {
      throw new Error(`metric ${name} is not defined`);
    }
    return metric;
  }
}
