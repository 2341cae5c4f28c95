import { describe, expect, it } from "vitest";
import { MetricSet } from "./metric-set.ts";

const definitions = [
  { name: "calls_total", type: "counter", labels: ["method", "code"], help: "Calls." },
  { name: "level", type: "gauge", labels: [], help: "A level." },
  { name: "wait_seconds", type: "histogram", labels: ["what"], help: "Waits.", buckets: [0.1, 1] },
  { name: "bare_seconds", type: "histogram", labels: [], help: "No labels.", buckets: [1] },
] as const;

describe("MetricSet", () => {
  it("shows a metric without values by its head alone", () => {
    expect(new MetricSet(definitions).render()).toBe(
      definitions.map(({ name, help, type }) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`).join(""),
    );
  });

  it("adds up counters by their labels, and takes the last value of a gauge", () => {
    const set = new MetricSet(definitions);
    set.add("calls_total", ["a", "ok"]);
    set.add("calls_total", ["a", "ok"], 2);
    set.add("calls_total", ["aok", ""]);
    set.set("level", [], 3);
    set.set("level", [], -1.5);
    expect(
      set
        .render()
        .split("\n")
        .filter((line) => !line.startsWith("#")),
    ).toEqual([
      'calls_total{method="a",code="ok"} 3',
      'calls_total{method="aok",code=""} 1',
      "level -1.5",
      "",
    ]);
  });

  it("counts into buckets, each with what is below it; a bound belongs to its own", () => {
    const set = new MetricSet(definitions);
    for (const value of [0.05, 0.1, 0.5, 7]) set.observe("wait_seconds", ["x"], value);
    set.observe("bare_seconds", [], 1.5);
    expect(
      set
        .render()
        .split("\n")
        .filter((line) => !line.startsWith("#")),
    ).toEqual([
      'wait_seconds_bucket{what="x",le="0.1"} 2',
      'wait_seconds_bucket{what="x",le="1"} 3',
      'wait_seconds_bucket{what="x",le="+Inf"} 4',
      'wait_seconds_sum{what="x"} 7.65',
      'wait_seconds_count{what="x"} 4',
      'bare_seconds_bucket{le="1"} 0',
      'bare_seconds_bucket{le="+Inf"} 1',
      "bare_seconds_sum 1.5",
      "bare_seconds_count 1",
      "",
    ]);
  });

  it("escapes what would end a label", () => {
    const set = new MetricSet(definitions);
    set.add("calls_total", ['say "hi"\n', "back\\slash"]);
    expect(set.render()).toContain('calls_total{method="say \\"hi\\"\\n",code="back\\\\slash"} 1\n');
  });
});
