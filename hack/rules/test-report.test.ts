import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { differences, specsOf } from "../../test/conformance/spec-report.ts";
import { countsOf, table, total } from "./test-report.ts";

const folder = mkdtempSync(join(tmpdir(), "report-"));
afterAll(() => rmSync(folder, { recursive: true }));

const spec = (State: string, text: string, Message?: string) => ({
  LeafNodeType: "It",
  LeafNodeText: text,
  ContainerHierarchyTexts: ["[k8s.io] Pod"],
  State,
  ...(Message === undefined ? {} : { Failure: { Message } }),
});

const ginkgo = JSON.stringify([
  {
    SpecReports: [
      spec("passed", "runs"),
      spec("failed", "stops", "no\n\tway"),
      spec("skipped", "hides", "no AppArmor"),
      spec("skipped", "was not selected"),
      { ...spec("passed", "setup"), LeafNodeType: "BeforeSuite" },
    ],
  },
]);

describe("counts", () => {
  it("are read from vitest's report", () => {
    const report = {
      numPassedTests: 3,
      numFailedTests: 1,
      numPendingTests: 2,
      numTodoTests: 0,
      numFailedTestSuites: 1,
    };
    writeFileSync(join(folder, "unit.vitest.json"), JSON.stringify(report));
    expect(countsOf(folder, "unit", false, 1)).toMatchObject({ passed: 3, failed: 1, skipped: 2 });
  });

  it("are read from critest's report", () => {
    writeFileSync(join(folder, "cri.critest.json"), ginkgo);
    expect(countsOf(folder, "cri", false, 1)).toMatchObject({ passed: 1, failed: 1, skipped: 1 });
  });

  it("count a failed command though every test passed: something was left", () => {
    const report = {
      numPassedTests: 3,
      numFailedTests: 0,
      numPendingTests: 0,
      numTodoTests: 0,
      numFailedTestSuites: 0,
    };
    writeFileSync(join(folder, "left.vitest.json"), JSON.stringify(report));
    expect(countsOf(folder, "left", false, 1)).toMatchObject({ passed: 3, failed: 1 });
    expect(countsOf(folder, "absent", true, 1)).toMatchObject({ passed: 1, failed: 0 });
  });

  it("add up", () => {
    const rows = [countsOf(folder, "absent", true, 2), countsOf(folder, "absent", false, 3)];
    expect(total(rows)).toEqual({ passed: 1, failed: 1, skipped: 0 });
    expect(table(rows).split("\n")).toHaveLength(3);
  });
});

describe("specs", () => {
  it("are named as the expectations name them", () => {
    expect(specsOf(ginkgo)).toEqual([
      { name: "Pod > runs", state: "passed", message: "" },
      { name: "Pod > stops", state: "failed", message: "no way" },
      { name: "Pod > hides", state: "skipped", message: "no AppArmor" },
    ]);
  });

  it("are compared one by one", () => {
    const expected = {
      "Pod > runs": "passed",
      "Pod > stops": "passed",
      "Pod > hides": "skipped: no AppArmor",
      "Pod > is": "passed",
    };
    expect(differences(specsOf(ginkgo), expected, false)).toEqual([
      "failed, expected passed: Pod > stops: no way",
    ]);
    expect(differences(specsOf(ginkgo), expected, true)).toContain("did not run: Pod > is");
    expect(differences(specsOf(ginkgo), {}, false)).toHaveLength(3);
  });
});
