import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { judge, patternOf, specsOf } from "../../test/conformance/spec-report.ts";
import { countsOf, failuresList, table, total } from "./test-report.ts";

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
      testResults: [
        {
          name: join(process.cwd(), "a.test.ts"),
          status: "failed",
          message: "",
          assertionResults: [
            { status: "passed", fullName: "it runs", failureMessages: [] },
            {
              status: "failed",
              fullName: "it stops",
              failureMessages: ["\u001b[31mError: no\nway\u001b[39m\n    at x"],
            },
          ],
        },
        { name: "/b.test.ts", status: "failed", message: "does not\n  load", assertionResults: [] },
      ],
    };
    writeFileSync(join(folder, "unit.vitest.json"), JSON.stringify(report));
    const counts = countsOf(folder, "unit", false, 1);
    expect(counts).toMatchObject({ passed: 3, failed: 1, skipped: 2 });
    expect(failuresList([counts, countsOf(folder, "absent", false, 1)])).toBe(
      "unit: a.test.ts: it stops: Error: no way\n" +
        `unit: ${relative(process.cwd(), "/b.test.ts")}: does not load\n` +
        "absent: a command ended with an error\n",
    );
  });

  it("are taken from a part that has counted by itself", () => {
    writeFileSync(
      join(folder, "cri.counts.json"),
      '{"passed":1,"failed":1,"skipped":1,"failures":["Pod > stops"]}',
    );
    expect(countsOf(folder, "cri", false, 1)).toMatchObject({ passed: 1, failures: ["Pod > stops"] });
    const report = {
      numPassedTests: 3,
      numFailedTests: 0,
      numPendingTests: 2,
      numTodoTests: 0,
      testResults: [],
    };
    writeFileSync(join(folder, "cri.vitest.json"), JSON.stringify({ ...report, numFailedTestSuites: 0 }));
    expect(countsOf(folder, "cri", false, 1)).toMatchObject({ passed: 4, failed: 1, skipped: 3 });
  });

  it("count a failed command though every test passed: something was left", () => {
    const report = {
      numPassedTests: 3,
      numFailedTests: 0,
      numPendingTests: 0,
      numTodoTests: 0,
      numFailedTestSuites: 0,
      testResults: [],
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
      "Pod > hides": "needs AppArmor",
      "Pod > is": "passed",
      "Pod > leads": "needs NAT",
    };
    const missing = new Set(["AppArmor", "NAT"]);
    expect(judge(specsOf(ginkgo), expected, missing, false)).toEqual({
      passed: 1,
      failed: 1,
      skipped: 1,
      differences: ["failed: Pod > stops: no way"],
    });
    const whole = judge(specsOf(ginkgo), expected, missing, true);
    expect(whole).toMatchObject({ passed: 1, failed: 2, skipped: 2 });
    expect(whole.differences).toContain("did not run: Pod > is");
    expect(judge(specsOf(ginkgo), {}, missing, false).differences).toHaveLength(3);
  });

  it("that hide though they could run count as failed", () => {
    const expected = { "Pod > hides": "needs AppArmor" };
    const hidden = specsOf(ginkgo).filter(({ state }) => state === "skipped");
    expect(judge(hidden, expected, new Set(), true)).toMatchObject({ passed: 0, failed: 1, skipped: 0 });
    const shown = [{ name: "Pod > hides", state: "passed", message: "" }] as const;
    expect(judge(shown, expected, new Set(), true)).toMatchObject({ passed: 1, failed: 0, skipped: 0 });
    expect(judge(shown, expected, new Set(["AppArmor"]), true)).toMatchObject({ passed: 0, failed: 1 });
  });

  it("are selected by a pattern of their names", () => {
    expect(patternOf(["Net > port (host)", "Pod > runs"])).toBe("Net port \\(host\\)|Pod runs");
  });
});
