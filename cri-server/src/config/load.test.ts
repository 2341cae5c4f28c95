import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { configurationDocument, helpText } from "./help.ts";
import { loadConfig, parseCommandLine, parseConfigFile } from "./load.ts";
import { options } from "./options.ts";
import { berthVersion } from "./version.ts";

const root = join(import.meta.dirname, "../../..");
const load = (...argv: string[]) => loadConfig(parseCommandLine(argv), "/usr/lib/berth");

describe("loadConfig", () => {
  it("fills in every default", async () => {
    const config = await load();
    expect(config.socket).toBe("/run/berth/berth.sock");
    expect(config.nativeDir).toBe("/usr/lib/berth");
    expect(config.runtime.maxLogLineBytes).toBe(16384);
    expect(config.stream.idleTimeoutSeconds).toBe(14400);
  });

  it("takes flags, repeated ones as lists", async () => {
    const config = await load(
      "--state=/x",
      "--cni-bin-dir",
      "/a",
      "--cni-bin-dir",
      "/b",
      "--stream-port",
      "99",
    );
    expect(config.state).toBe("/x");
    expect(config.cni.workerSocket).toBe("/x/cni.sock");
    expect(config.cni.binDirs).toEqual(["/a", "/b"]);
    expect(config.stream.port).toBe(99);
  });

  it.each([
    [["--nonsense", "1"], "flag --nonsense"],
    [["--stream-port", "70000"], "not within 0..65535"],
    [["--stream-port", "x"], "not a whole number"],
    [["--log-level", "loud"], "not one of"],
    [["--root", "relative"], "not an absolute path"],
    [["--root"], "a value is missing"],
    [["stray"], "not understood"],
    [["--stream-tls-cert", "/c"], "one is given without the other"],
    [["--metrics-address", "0.0.0.0:9100"], "not an address of the loopback interface"],
    [["--metrics-address", "localhost:9100"], "not IP:PORT or an absolute path"],
    [["--metrics-address", "127.0.0.1:70000"], "not IP:PORT or an absolute path"],
  ])("refuses %j", async (argv, message) => {
    await expect(async () => await load(...argv)).rejects.toThrow(message);
  });

  it.each([
    [[], undefined],
    [["--metrics-address", "127.0.0.1:9100"], { kind: "tcp", host: "127.0.0.1", port: 9100 }],
    [["--metrics-address", "[::1]:9100"], { kind: "tcp", host: "::1", port: 9100 }],
    [["--metrics-address", "/run/m.sock"], { kind: "unix", path: "/run/m.sock" }],
  ])("knows where metrics are served with %j", async (argv, address) => {
    expect((await load(...argv)).metrics).toEqual({ address });
  });

  it("says which verb is meant", () => {
    expect(parseCommandLine([]).verb).toBe("serve");
    expect(parseCommandLine(["check", "--root", "/r"]).verb).toBe("check");
    expect(parseCommandLine(["--help"]).verb).toBe("help");
  });
});

describe("parseConfigFile", () => {
  it("reads tables", () => {
    const given = parseConfigFile('root = "/r"\n[cni]\nbin_dirs = ["/a"]\n[runtime]\npids_limit = 5\n', "f");
    expect(Object.fromEntries(given)).toEqual({
      root: "/r",
      "cni.bin_dirs": ["/a"],
      "runtime.pids_limit": 5,
    });
  });

  it.each([
    ["rooot = '/r'", 'unknown key "rooot"'],
    ["[cni]\nconfdir = '/r'", 'unknown key "cni.confdir"'],
    ["[nope]\nx = 1", 'unknown key "nope.x"'],
    ["socket = 5", "not a string"],
    ["[stream]\nport = '5'", "not a whole number"],
    ["= broken", "configuration file f"],
  ])("refuses %j", (text, message) => {
    expect(() => parseConfigFile(text, "f")).toThrow(message);
  });
});

describe("documentation", () => {
  it("--help names every flag", () => {
    for (const option of options) {
      expect(helpText()).toContain(option.flag);
    }
  });

  it("docs/configuration.md is what the option table says", () => {
    expect(readFileSync(join(root, "docs/configuration.md"), "utf8")).toBe(configurationDocument());
  });

  it("the program's version is the package's", () => {
    const manifest: unknown = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(manifest).toMatchObject({ version: berthVersion });
  });
});
