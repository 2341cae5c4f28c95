/** What is expected of each spec, by name: "passed", or "skipped: " and the reason why this machine cannot run it. */
export type Expectations = Readonly<Record<string, string>>;

/** One spec that was selected. */
export interface Spec {
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  /** Why, unless it passed. */
  readonly message: string;
}

interface SpecReport {
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly State: string;
  readonly Failure?: { readonly Message?: string };
}

/** Reads a ginkgo report. Benchmarks, and specs that a focus left out, are not in the result. */
export function specsOf(report: string): readonly Spec[] {
  const suites = JSON.parse(report) as { readonly SpecReports: readonly SpecReport[] | null }[];
  const specs: Spec[] = [];
  for (const spec of suites.flatMap(({ SpecReports }) => SpecReports ?? [])) {
    if (spec.LeafNodeType !== "It") continue;
    const message = (spec.Failure?.Message ?? "").replace(/\s+/g, " ").slice(0, 600);
    // A spec that skips itself says why; one that was not selected has nothing to say.
    if (spec.State === "pending" || (spec.State === "skipped" && message === "")) continue;
    const name = [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText]
      .join(" > ")
      .replace(/^\[k8s\.io\] /, "")
      .replace(/ \[Conformance\]/g, "");
    const state = spec.State === "passed" || spec.State === "skipped" ? spec.State : "failed";
    specs.push({ name, state, message });
  }
  return specs;
}

/** A line for each spec that did not do what was expected of it. `whole`: every expected spec has to be there. */
export function differences(specs: readonly Spec[], expectations: Expectations, whole: boolean): string[] {
  const found: string[] = [];
  for (const { name, state, message } of specs) {
    const expected = expectations[name];
    if (expected === undefined) found.push(`not expected at all: ${name} (${state})`);
    else if (!expected.startsWith(state)) found.push(`${state}, expected ${expected}: ${name}: ${message}`);
  }
  if (whole) {
    const names = new Set(specs.map(({ name }) => name));
    for (const name of Object.keys(expectations)) if (!names.has(name)) found.push(`did not run: ${name}`);
  }
  return found;
}
