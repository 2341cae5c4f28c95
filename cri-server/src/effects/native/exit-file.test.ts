import { describe, expect, it } from "vitest";
import { parseExitFile } from "./exit-file.ts";

const whole =
  '{"version":1,"containerId":"c","exitCode":137,"oomKilled":true,"startedAt":"1795506751463551656","finishedAt":"1795506751665864638"}\n';

describe("parseExitFile", () => {
  it("reads what the monitor writes", () => {
    expect(parseExitFile(whole)).toEqual({
      containerId: "c",
      exitCode: 137,
      oomKilled: true,
      startedAt: 1795506751463551656n,
      finishedAt: 1795506751665864638n,
    });
  });

  it.each([
    ["nothing", ""],
    ["a torn write", whole.slice(0, 40)],
    ["zeros of a crashed disk", "\0".repeat(100)],
    ["another version", whole.replace('"version":1', '"version":2')],
    ["an exit code that is none", whole.replace("137", "256")],
    ["a time that is none", whole.replace('"1795506751463551656"', '"-1"')],
    ["a number where a text belongs", whole.replace('"1795506751463551656"', "1795506751463551656")],
    ["no object", "[]"],
  ])("refuses %s", (_name, text) => {
    expect(parseExitFile(text)).toBeUndefined();
  });
});
