import { describe, expect, it } from "vitest";
import { resolveEnv } from "./env.ts";

const input = (env: string[], envs: [string, string][] = [], extra = {}) => ({
  image: { env },
  config: { envs: envs.map(([key, value]) => ({ key, value })), tty: false },
  hostname: "pod",
  home: "/root",
  injected: [],
  ...extra,
});

describe("resolveEnv", () => {
  it("lets a CDI device win, at the place that the name had", () => {
    const env = resolveEnv(input(["A=1"], [["B", "2"]], { injected: ["A=3", "C=a=b"] }));
    expect(env.slice(2)).toEqual(["A=3", "B=2", "C=a=b", "HOME=/root"]);
  });

  it("fills in PATH, HOSTNAME and HOME", () => {
    const [path, ...rest] = resolveEnv(input([]));
    expect(path).toMatch(/^PATH=\/usr\/local\/sbin:/);
    expect(rest).toEqual(["HOSTNAME=pod", "HOME=/root"]);
  });

  it("lets the container win over the image, and both over the defaults", () => {
    const env = resolveEnv(
      input(
        ["PATH=/image", "A=1"],
        [
          ["A", "2"],
          ["HOSTNAME", "own"],
          ["HOME", ""],
        ],
      ),
    );
    expect(env).toEqual(["PATH=/image", "HOSTNAME=own", "A=2", "HOME="]);
  });

  it("sets TERM on a terminal only", () => {
    expect(resolveEnv(input([], [], { config: { envs: [], tty: true } }))).toContain("TERM=xterm");
    expect(resolveEnv(input([])).join()).not.toContain("TERM");
  });

  it("keeps every byte: the image's UTF-8 becomes latin1 as the container's values are", () => {
    expect(resolveEnv(input(["U=é"], [["B", "\xff\xfe"]]))).toEqual(
      expect.arrayContaining(["U=Ã©", "B=\xff\xfe"]),
    );
  });

  it.each([
    [["NOVALUE"], [], "KEY=value"],
    [["=x"], [], "KEY=value"],
    [[], [["", "x"]], "variable name"],
    [[], [["A=B", "x"]], "variable name"],
    [[], [["A", "x\0y"]], "NUL"],
  ] as [string[], [string, string][], string][])("refuses %j %j", (env, envs, message) => {
    expect(() => resolveEnv(input(env, envs))).toThrow(message);
  });

  // CVE-2022-4318: a line break in HOME became a line of /etc/passwd; a backslash and an n are harmless.
  it.each(["/a\nroot::0:0", "/a\r", "/a\x7f"])("refuses HOME %j", (home) => {
    expect(() => resolveEnv(input([], [["HOME", home]]))).toThrow("control character");
  });
  it("accepts a backslash in HOME", () => {
    expect(resolveEnv(input([], [["HOME", "/a\\n"]]))).toContain("HOME=/a\\n");
  });
});
