import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { metrics, metricsTable } from "./definitions.ts";

const document = readFileSync(join(import.meta.dirname, "../../../../docs/metrics.md"), "utf8");

describe("the metrics", () => {
  it("docs/metrics.md has the table of all of them", () => {
    expect(document).toContain(`\n${metricsTable().join("\n")}\n`);
  });

  it("docs/metrics.md speaks of no other", () => {
    const known = new Set<string>(metrics.map(({ name }) => name));
    const named = document.match(/\b(berth|process)_[a-z_]+[a-z]\b/g) ?? [];
    const bare = named.map((name) => (known.has(name) ? name : name.replace(/_(bucket|sum|count)$/, "")));
    expect(bare.filter((name) => !known.has(name))).toEqual([]);
  });

  it.each(metrics)("$name is named as Prometheus asks", ({ name, type }) => {
    expect(name).toMatch(/^(berth|process)_[a-z_]+$/);
    expect(name.endsWith("_total")).toBe(type === "counter");
  });
});
