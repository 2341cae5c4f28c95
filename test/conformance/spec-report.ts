/** What is expected of each spec, by name: "passed", or "needs X" where X is one of the kernel's own (kernel-needs.ts). */
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

/**
 * What a run of the suite comes to. Specs that need what this kernel has not are skipped, whether they have found out by
 * themselves or were never started; `whole`: every other spec has to be there.
 */
export function judge(
  specs: readonly Spec[],
  expectations: Expectations,
  missing: ReadonlySet<string>,
  whole: boolean,
): Judgement {
  const states = new Map(specs.map((spec) => [spec.name, spec]));
  const judgement = { passed: 0, failed: 0, skipped: 0, differences: [] as string[] };
  const differ = (line: string): void => {
    judgement.failed += 1;
    judgement.differences.push(line);
  };
  for (const [name, expected] of Object.entries(expectations)) {
    const spec = states.get(name);
    const isHere = !missing.has(expected.replace(/^needs /, ""));
    if (spec === undefined && !whole) continue;
    if (!isHere && (spec?.state ?? "skipped") === "skipped") judgement.skipped += 1;
    else if (spec === undefined) differ(`did not run: ${name}`);
    else if (!isHere) differ(`${spec.state}, though this kernel has no ${expected}: ${name}`);
    else if (spec.state === "passed") judgement.passed += 1;
    else differ(`${spec.state}: ${name}: ${spec.message}`);
  }
  for (const { name } of specs) {
    if (!Object.hasOwn(expectations, name)) differ(`not expected at all: ${name}`);
  }
  return judgement;
}

/** Counts, and a line for each spec that did not do what was expected of it; those count as failed. */
export interface Judgement {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly differences: readonly string[];
}

/** A pattern for ginkgo that matches the specs of these names, and no other. */
export function patternOf(names: readonly string[]): string {
  return names.map((name) => escapeForGo(name.replaceAll(" > ", " "))).join("|");
}

function escapeForGo(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&");
}
