import { describe, expect, it } from "vitest";
import { parseConfig } from "./config.ts";
import { CniError } from "./errors.ts";

const none = new Map<string, string>();
const base = {
  cniVersion: "1.1.0",
  name: "net",
  type: "berth",
  ipam: { type: "berth", ranges: [[{ subnet: "10.1.0.0/24" }]] },
};

function parse(more: object = {}, lenient = false): ReturnType<typeof parseConfig> {
  return parseConfig(Buffer.from(JSON.stringify({ ...base, ...more })), none, lenient);
}

function codeOf(work: () => unknown): number {
  try {
    work();
  } catch (error) {
    if (error instanceof CniError) return error.code;
    throw error;
  }
  return 0;
}

describe("parseConfig", () => {
  it("has defaults", () => {
    expect(parse()).toMatchObject({
      bridge: "berth0",
      isGateway: false,
      ipMasq: false,
      ingressPolicy: "open",
    });
  });

  it("takes a default gateway for a gateway", () => {
    expect(parse({ isDefaultGateway: true }).isGateway).toBe(true);
  });

  it("leaves unknown keys, capabilities and null values alone", () => {
    const runtimeConfig = {
      "io.kubernetes.cri.pod-annotations": { a: "b" },
      cgroupPath: "/x",
      portMappings: null,
    };
    expect(
      parse({ capabilities: { x: true }, other: 1, dns: null, runtimeConfig }).runtime.portMappings,
    ).toBeUndefined();
  });

  it.each([
    [{}, undefined],
    [{ vlan: 0 }, undefined],
    [{ vlan: 5 }, { access: 5, trunk: [], keepDefault: true }],
    [{ vlanTrunk: [] }, { access: undefined, trunk: [], keepDefault: true }],
    [
      { vlanTrunk: [{ minID: 2, maxID: 4, id: 9 }, { id: 7 }], preserveDefaultVlan: false },
      {
        access: undefined,
        trunk: [
          { first: 2, last: 4 },
          { first: 9, last: 9 },
          { first: 7, last: 7 },
        ],
        keepDefault: false,
      },
    ],
  ])("reads the VLANs of %j", (more, vlan) => {
    expect(parse(more).vlan).toEqual(vlan);
  });

  it.each([
    [{ cniVersion: "9.9.9" }, 1, 'cniVersion "9.9.9" is none of'],
    [{ name: "" }, 7, 'name ""'],
    [{ name: "a b" }, 7, 'name "a b"'],
    [{ bridge: "much-too-long-a-name" }, 7, 'bridge "much-too-long-a-name"'],
    [{ ipMasq: "yes" }, 7, 'ipMasq must be true or false, not "yes"'],
    [{ mtu: -1 }, 7, "mtu must be a whole number from 0 to 65535, not -1"],
    [{ hairpinMode: true, promiscMode: true }, 7, "exclude each other"],
    [{ vlan: 4095 }, 7, "vlan must be a whole number from 0 to 4094, not 4095"],
    [{ vlan: 5, vlanTrunk: [{ id: 6 }] }, 7, "vlan and vlanTrunk exclude each other"],
    [{ vlanTrunk: [{ minID: 5 }] }, 7, "vlanTrunk[0].minID and vlanTrunk[0].maxID need each other"],
    [{ vlanTrunk: [{ minID: 5, maxID: 4 }] }, 7, "vlanTrunk[0].minID 5 is above vlanTrunk[0].maxID 4"],
    [{ vlanTrunk: [{ id: 0 }] }, 7, "vlanTrunk[0].id"],
    [{ mac: "zz" }, 7, 'mac "zz"'],
    [{ mac: "01:00:5e:00:00:01" }, 7, "is no MAC address of one interface"],
    [
      { runtimeConfig: { portMappings: [{ hostPort: 70000, containerPort: 1 }] } },
      7,
      "portMappings[0].hostPort",
    ],
    [
      { runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 0 }] } },
      7,
      "portMappings[0].containerPort",
    ],
    [
      { runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 1, protocol: "x" }] } },
      7,
      'protocol "x"',
    ],
    [{ runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 1, hostIP: "x" }] } }, 7, 'hostIP "x"'],
    [{ runtimeConfig: { ips: ["x"] } }, 7, 'runtimeConfig.ips[0] "x"'],
    [{ ipam: { type: "berth" } }, 7, "ipam has neither ranges nor a subnet"],
    [{ ipam: { type: "berth", ranges: [[]] } }, 7, "ipam.ranges[0] is an empty range set"],
    [{ ipam: { type: "berth", subnet: "10.0.0.0/31" } }, 7, "too small"],
    [{ ipam: { type: "berth", subnet: "10.0.0.0/24", rangeStart: "10.0.1.0" } }, 7, "is not in 10.0.0.0/24"],
    [
      { ipam: { type: "berth", subnet: "10.0.0.0/24", rangeStart: "10.0.0.9", rangeEnd: "10.0.0.8" } },
      7,
      "is behind",
    ],
    [
      { ipam: { type: "berth", ranges: [[{ subnet: "10.0.0.0/24" }, { subnet: "10.0.0.0/25" }]] } },
      7,
      "overlap",
    ],
    [{ ipam: { type: "berth", ranges: [[{ subnet: "10.0.0.0/24" }, { subnet: "fd00::/64" }]] } }, 7, "mixes"],
    [{ ipam: { type: "berth", subnet: "10.0.0.0/24", routes: [{ dst: "x" }] } }, 7, "dst"],
  ])("refuses %j", (more, code, message) => {
    expect(() => parse(more)).toThrow(message);
    expect(codeOf(() => parse(more))).toBe(code);
  });

  it("reads keys in any case, as containerd's client prints its structures", () => {
    const portMappings = [{ HostPort: 80, ContainerPort: 8080, Protocol: "tcp", HostIP: "" }];
    const { runtime } = parse({
      runtimeConfig: { portMappings, bandwidth: { IngressRate: 8, EgressRate: 16 } },
    });
    expect(runtime.portMappings).toMatchObject([{ hostPort: 80, containerPort: 8080 }]);
    expect(runtime.bandwidth).toMatchObject({ ingressRate: 8, egressRate: 16 });
  });

  it("refuses what is no JSON object", () => {
    expect(codeOf(() => parseConfig(Buffer.from("{"), none))).toBe(6);
    expect(codeOf(() => parseConfig(Buffer.from("[]"), none))).toBe(6);
  });

  it("takes what only one pod asked for lightly when it is lenient", () => {
    const runtimeConfig = { portMappings: [{ hostPort: 70000 }], ips: ["x"], ipRanges: [[{}]] };
    expect(parse({ runtimeConfig }, true).runtime.portMappings).toBeUndefined();
  });

  it("prefers runtimeConfig, then args.cni, then CNI_ARGS for wanted addresses", () => {
    const wanted = (more: object, args = none): readonly unknown[] => {
      const { ipam } = parseConfig(Buffer.from(JSON.stringify({ ...base, ...more })), args);
      return ipam?.kind === "built-in" ? ipam.wanted.map((prefix) => prefix.address.value & 0xffn) : [];
    };
    const args = { cni: { ips: ["10.1.0.5"] } };
    const env = new Map([["IP", "10.1.0.6"]]);
    expect(wanted({ args, runtimeConfig: { ips: ["10.1.0.4/24"] } }, env)).toEqual([4n]);
    expect(wanted({ args }, env)).toEqual([5n]);
    expect(wanted({}, env)).toEqual([6n]);
  });

  it("ignores mappings without a host port, and takes 0.0.0.0 for every address", () => {
    const portMappings = [
      { hostPort: 0, containerPort: 1 },
      { hostPort: 8, containerPort: 1, protocol: "UDP", hostIP: "0.0.0.0" },
    ];
    expect(parse({ runtimeConfig: { portMappings } }).runtime.portMappings).toEqual([
      { hostPort: 8, containerPort: 1, protocol: "udp", hostIp: undefined },
    ]);
  });
});
