import { describe, expect, it } from "vitest";
import { addressesOf, failureOf, parseResult } from "./result.ts";

const outcome = (stdout: string, stderr = "", exitCode = 1) => ({
  exitCode,
  stdout: Buffer.from(stdout),
  stderr: Buffer.from(stderr),
  timedOut: false,
});

describe("addressesOf", () => {
  const interfaces = [{ name: "cni0" }, { name: "veth1" }, { name: "eth0", sandbox: "/run/netns/x" }];

  it("puts the first IPv4 address first", () => {
    const ips = [
      { address: "fd00::2/64", interface: 2 },
      { address: "10.1.0.2/16", interface: 2 },
      { address: "10.1.0.3/16" },
    ];
    expect(addressesOf("n", { interfaces, ips }, "eth0")).toEqual(["10.1.0.2", "fd00::2", "10.1.0.3"]);
  });

  it("leaves out what belongs to the host's interfaces", () => {
    const ips = [
      { address: "10.1.0.1/16", interface: 0 },
      { address: "10.1.0.2/16", interface: 2 },
    ];
    expect(addressesOf("n", { interfaces, ips }, "eth0")).toEqual(["10.1.0.2"]);
  });

  it("reads results older than 0.3", () => {
    expect(addressesOf("n", { ip4: { ip: "10.1.0.2/16" }, ip6: { ip: "fd00::2/64" } }, "eth0")).toEqual([
      "10.1.0.2",
      "fd00::2",
    ]);
  });

  it.each([
    [{}, "no address"],
    [{ interfaces, ips: [] }, "no address"],
    [{ interfaces: [{ name: "eth0" }], ips: [{ address: "10.1.0.2/16" }] }, "no interface eth0"],
    [{ ips: [{ address: "ten/8" }] }, "ten/8"],
    [{ ips: [{ address: "fe80::1%eth0/64" }] }, "fe80::1%eth0"],
    [{ ips: [{ address: "0.0.0.0/0" }] }, "0.0.0.0"],
    [{ ips: [{ address: "0::0/64" }] }, "0::0"],
    [{ ips: [{ address: { toString: "10.1.0.2" } }] }, "address"],
    [{ ips: [null, 7, "10.1.0.2"] }, "no address"],
    [{ interfaces: { length: 3 }, ips: { 0: { address: "10.1.0.2/16" } } }, "no address"],
    [{ interfaces, ips: [{ address: "10.1.0.2/16", interface: -1 }] }, "no address"],
    [{ interfaces, ips: [{ address: "10.1.0.2/16", interface: "2" }] }, "no address"],
    [{ interfaces: [null, { name: "eth0", sandbox: 7 }], ips: [] }, "no interface eth0"],
  ])("refuses %j", (result, why) => {
    expect(() => addressesOf("n", result, "eth0")).toThrow(why);
  });
});

describe("parseResult", () => {
  it("mends a missing version and a null", () => {
    expect(parseResult("a", Buffer.from("null"), "1.0.0")).toEqual({ cniVersion: "1.0.0" });
    expect(parseResult("a", Buffer.from('{"ips":[]}'), "1.0.0")).toEqual({ cniVersion: "1.0.0", ips: [] });
  });
  it("refuses what is no JSON object", () => {
    expect(() => parseResult("a", Buffer.from("oops"), "1.0.0")).toThrow("oops");
    expect(() => parseResult("a", Buffer.from("[]"), "1.0.0")).toThrow("object");
  });
});

describe("failureOf", () => {
  it("uses the plugin's own words", () => {
    expect(failureOf(outcome('{"code":11,"msg":"no room","details":"in pool"}'), 1000)).toBe(
      "no room: in pool (code 11)",
    );
    expect(failureOf(outcome("", "panic: x"), 1000)).toBe("exit code 1: panic: x");
    expect(failureOf(outcome(""), 1000)).toBe("exit code 1 without a word");
    expect(failureOf({ ...outcome(""), timedOut: true }, 1000)).toContain("1 s");
  });

  it("quotes so much of them as one can read", () => {
    const long = "x".repeat(100_000);
    const object = JSON.stringify({ code: 7, msg: long, details: long });
    for (const said of [outcome(object), outcome(long), outcome("", long)]) {
      expect(failureOf(said, 1000).length).toBeLessThan(2200);
    }
    expect(failureOf(outcome('{"msg":{"a":1},"code":[9]}'), 1000)).toBe("[object Object] (code 9)");
  });
});
