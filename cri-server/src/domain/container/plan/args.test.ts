import { describe, expect, it } from "vitest";
import { resolveArgs, resolveWorkingDir } from "./args.ts";

const image = { entrypoint: ["/entry"], cmd: ["default"] };

describe("resolveArgs", () => {
  it.each([
    [[], [], ["/entry", "default"]],
    [[], ["a"], ["/entry", "a"]],
    [["/cmd"], [], ["/cmd"]],
    [["/cmd", "x"], ["a"], ["/cmd", "x", "a"]],
  ])("command %j and args %j give %j", (command, args, expected) => {
    expect(resolveArgs({ command, args }, image)).toEqual(expected);
  });

  it("refuses to run nothing, an empty name and NUL bytes", () => {
    const empty = { entrypoint: [], cmd: [] };
    expect(() => resolveArgs({ command: [], args: [] }, empty)).toThrow("names a command");
    expect(() => resolveArgs({ command: [""], args: [] }, image)).toThrow("config.command[0]");
    expect(() => resolveArgs({ command: ["a"], args: ["b\0c"] }, image)).toThrow("argument 1");
  });
});

describe("resolveWorkingDir", () => {
  it.each([
    ["", "", "/"],
    ["", "/image", "/image"],
    ["/own", "/image", "/own"],
    ["relative", "", "/relative"],
  ])("own %j and image %j give %j", (own, ofImage, expected) => {
    expect(resolveWorkingDir({ workingDir: own }, { workingDir: ofImage })).toBe(expected);
  });
});
