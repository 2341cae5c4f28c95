import { describe, expect, it } from "vitest";
import { capabilityNames, resolveCapabilities, unavailableCapabilities } from "./capabilities.ts";

const all = (1n << 41n) - 1n;
const sysResource = 1n << 24n;
const resolve = (
  add: string[],
  drop: string[] = [],
  ambient: string[] = [],
  { privileged = false, bounding = all } = {},
) =>
  resolveCapabilities(
    { capabilitiesAdd: add, capabilitiesDrop: drop, capabilitiesAmbient: ambient, privileged },
    bounding,
  );
const names = (bits: bigint) => capabilityNames(bits).map((name) => name.slice(4));

describe("resolveCapabilities", () => {
  it("gives the usual fourteen, none of them inheritable (CVE-2022-24769)", () => {
    const plan = resolve([]);
    expect(names(plan.bounding)).toHaveLength(14);
    expect(plan.effective).toBe(plan.bounding);
    expect(plan.permitted).toBe(plan.bounding);
    expect(plan.inheritable).toBe(0n);
    expect(plan.ambient).toBe(0n);
  });

  it.each([
    [["NET_ADMIN"], [], 15, ["NET_ADMIN"], []],
    [["CAP_NET_ADMIN"], ["chown"], 14, ["NET_ADMIN"], ["CHOWN"]],
    [["ALL"], [], 41, ["SYS_ADMIN"], []],
    [["ALL"], ["SYS_ADMIN"], 40, [], ["SYS_ADMIN"]],
    [[], ["ALL"], 0, [], []],
    [["NET_RAW"], ["ALL"], 1, ["NET_RAW"], []],
    [["ALL"], ["ALL"], 0, [], []],
    [["SYS_TIME"], ["SYS_TIME"], 14, [], ["SYS_TIME"]],
  ])("adding %j and dropping %j leaves %d", (add, drop, count, has, lacks) => {
    const list = names(resolve(add, drop).bounding);
    expect(list).toHaveLength(count);
    for (const name of has) expect(list).toContain(name);
    for (const name of lacks) expect(list).not.toContain(name);
  });

  it("puts an ambient capability into all five sets", () => {
    const plan = resolve([], ["ALL"], ["NET_BIND_SERVICE"]);
    for (const bits of Object.values(plan)) expect(names(bits)).toEqual(["NET_BIND_SERVICE"]);
  });

  it("never gives what the server doesn't have", () => {
    const bounding = all & ~sysResource;
    expect(resolve([], [], [], { privileged: true, bounding }).bounding).toBe(bounding);
    expect(resolve(["ALL"], [], [], { bounding }).bounding).toBe(bounding);
    expect(resolve(["SYS_RESOURCE"], [], ["SYS_RESOURCE"], { bounding }).ambient).toBe(0n);
    const request = {
      capabilitiesAdd: ["SYS_RESOURCE", "ALL"],
      capabilitiesDrop: [],
      capabilitiesAmbient: [],
    };
    expect(unavailableCapabilities({ ...request, privileged: false }, bounding)).toEqual([
      "CAP_SYS_RESOURCE",
    ]);
  });

  it("refuses unknown names in each list", () => {
    expect(() => resolve(["CAP_FLY"])).toThrow('add_capabilities: "CAP_FLY"');
    expect(() => resolve([], ["FLY"])).toThrow("drop_capabilities");
    expect(() => resolve([], [], ["CAP_CAP_KILL"])).toThrow("add_ambient_capabilities");
  });
});
