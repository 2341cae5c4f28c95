import { describe, expect, it } from "vitest";
import { cycles, layerViolations } from "./layers.ts";
import { parseC, sizeViolations } from "./sizes.ts";
import { parseSource } from "./source-file.ts";

const long = (lines: number): string => `${"  work();\n".repeat(lines)}`;

describe("layers", () => {
  it.each([
    ["cri-server/src/domain/container/create.ts", "../../effects/store/records.ts", "must not import"],
    ["cri-server/src/domain/container/create.ts", "../sandbox/run.ts", "must not import"],
    ["cri-server/src/domain/image/pull.ts", "../container/create.ts", "must not import"],
    ["cri-server/src/domain/events.ts", "../../../proto/gen/api.ts", "must not import"],
    ["cri-server/src/model/ids.ts", "../lib/undo.ts", "must not import"],
    ["cri-server/src/effects/store/records.ts", "../../edge/grpc/wrap.ts", "must not import"],
    ["cni-plugin/src/command/add.ts", "../../../cri-server/src/lib/undo.ts", "must not import"],
    ["cri-server/src/domain/container/start.ts", "node:child_process", "blocks the event loop"],
    ["cri-server/src/domain/container/start.ts", "@grpc/grpc-js", "gRPC codes"],
    ["somewhere/else.ts", "node:fs", "belongs to no layer"],
  ])("%s may not import %s", (path, specifier, message) => {
    const file = parseSource(path, `import { x } from "${specifier}";\n`);
    expect(layerViolations([file])).toEqual([expect.stringContaining(message)]);
  });

  it.each([
    ["cri-server/src/domain/sandbox/run.ts", "../container/create.ts"],
    ["cri-server/src/domain/sandbox/run.ts", "../../ports/store.ts"],
    ["cri-server/src/validate/mounts.ts", "../../../proto/gen/api.ts"],
    ["cri-server/src/main.ts", "./effects/store/records.ts"],
    ["test/integration/limits.test.ts", "node:child_process"],
  ])("%s may import %s", (path, specifier) => {
    expect(layerViolations([parseSource(path, `import { x } from "${specifier}";\n`)])).toEqual([]);
  });
});

describe("cycles", () => {
  const file = (name: string, text: string) => parseSource(`cri-server/src/lib/${name}.ts`, text);

  it("finds a circle of three", () => {
    const circle = [
      file("a", 'import { b } from "./b.ts";'),
      file("b", 'export { c } from "./c.ts";'),
      file("c", 'import { a } from "./a.ts";'),
    ];
    expect(cycles(circle)).toEqual([expect.stringMatching(/a\.ts ↔ .*b\.ts ↔ .*c\.ts/)]);
  });

  it("lets types go round", () => {
    const circle = [file("a", 'import { b } from "./b.ts";'), file("b", 'import type { A } from "./a.ts";')];
    expect(cycles(circle)).toEqual([]);
  });
});

describe("sizes", () => {
  it("names a long file, a long function, and a name that says nothing", () => {
    const text = `export function tooLong(): void {\n${long(60)}}\n${"\n".repeat(400)}`;
    expect(sizeViolations([parseSource("cri-server/src/lib/utils.ts", text)], {})).toEqual([
      expect.stringContaining("named for the one thing"),
      expect.stringContaining("462 lines, at most 400"),
      expect.stringContaining("tooLong has 62 lines, at most 60"),
    ]);
  });

  it("takes an exception with a reason, and asks for one that is not needed to go", () => {
    const file = parseSource("cri-server/src/lib/a.ts", `const f = () => {\n${long(60)}};\n`);
    const exceptions = { "cri-server/src/lib/a.ts:f": "a table", "cri-server/src/lib/b.ts": "was long" };
    expect(sizeViolations([file], exceptions)).toEqual([expect.stringContaining("b.ts needs no exception")]);
  });

  it("measures C functions", () => {
    const text = `static int brief(void) {\n\treturn 1;\n}\n\nstatic void *endless(int a,\n\tint b)\n{\n${long(80)}}\n`;
    const file = parseC("native/monitor/loop.c", text);
    expect(file.functions.map(({ lines }) => lines)).toEqual([3, 82]);
    expect(sizeViolations([file], {})).toEqual([expect.stringContaining("82 lines, at most 80")]);
  });
});
