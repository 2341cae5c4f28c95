import { describe, expect, it } from "vitest";
import type { Result } from "./result.ts";
import { emptyResult, parseResult, presentResult } from "./result.ts";

const result: Result = {
  interfaces: [
    { name: "br0", mac: "0a:58:00:00:00:01", mtu: 1500 },
    { name: "eth0", mac: "0a:58:00:00:00:02", sandbox: "/run/netns/x" },
  ],
  ips: [
    { family: 4, address: "10.0.0.2/24", gateway: "10.0.0.1", interface: 1 },
    { family: 6, address: "fd00::2/64", interface: 1 },
  ],
  routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1", mtu: 1400 }, { dst: "::/0" }],
  dns: { nameservers: ["10.0.0.53"] },
};

describe("presentResult", () => {
  it("prints all in 1.1.0", () => {
    expect(presentResult(result, "1.1.0")).toEqual({
      cniVersion: "1.1.0",
      interfaces: result.interfaces,
      ips: [
        { interface: 1, address: "10.0.0.2/24", gateway: "10.0.0.1" },
        { interface: 1, address: "fd00::2/64" },
      ],
      routes: result.routes,
      dns: result.dns,
    });
  });

  it("leaves out what 1.0.0 did not have", () => {
    const printed = JSON.stringify(presentResult(result, "1.0.0"));
    expect(printed).not.toContain("mtu");
    expect(printed).not.toContain('"version"');
  });

  it("says the address family before 1.0.0", () => {
    for (const version of ["0.3.0", "0.3.1", "0.4.0"] as const) {
      expect(presentResult(result, version)).toMatchObject({ ips: [{ version: "4" }, { version: "6" }] });
    }
  });

  it("has one address per family in 0.2.0", () => {
    expect(presentResult(result, "0.2.0")).toEqual({
      cniVersion: "0.2.0",
      ip4: { ip: "10.0.0.2/24", gateway: "10.0.0.1", routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }] },
      ip6: { ip: "fd00::2/64", routes: [{ dst: "::/0" }] },
      dns: result.dns,
    });
  });
});

describe("parseResult", () => {
  it.each(["0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const)("reads back what was printed in %s", (version) => {
    const back = parseResult(JSON.parse(JSON.stringify(presentResult(result, version))), "prevResult");
    expect(presentResult(back, version)).toEqual(presentResult(result, version));
  });

  it("reads back 0.2.0", () => {
    const back = parseResult(presentResult(result, "0.2.0"), "prevResult");
    expect(back.ips.map((ip) => ip.address)).toEqual(["10.0.0.2/24", "fd00::2/64"]);
  });

  it("takes null for nothing, and refuses what is no result", () => {
    expect(parseResult(null, "prevResult")).toEqual(emptyResult);
    expect(() => parseResult([], "prevResult")).toThrow("prevResult is no object");
    expect(() => parseResult({ ips: [{ address: "10.0.0.1" }] }, "prevResult")).toThrow(
      "prevResult.ips[0].address",
    );
  });
});
