import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { Json } from "./world.ts";
import { World } from "./world.ts";

const probe = "ip link add probe0 type bridge vlan_filtering 1";
/** CONFIG_BRIDGE_VLAN_FILTERING: a kernel without it has bridges that take every frame for untagged. */
const hasVlans = spawnSync("unshare", ["-n", "sh", "-c", probe]).status === 0;

// The kernel that has them may be an emulated one.
vi.setConfig({ testTimeout: 180_000 });

let world: World;

const pods = ["a", "b", "c"];
beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns(...pods);
});
afterAll(() => world.close());
afterEach(async () => {
  for (const id of pods) {
    for (const name of ["red", "blue"]) await world.must({ command: "DEL", id, config: network(name) });
  }
  expect([...(await links()), ...(await world.leases("red")), ...(await world.leases("blue"))]).toEqual([]);
  await world.run("ip", "link", "delete", "brvlan");
});

/** Both networks have the same bridge and, so that only VLANs keep them apart, the same subnet. */
function network(name: string, more: Json = {}): Json {
  return world.config({
    name,
    bridge: "brvlan",
    isGateway: false,
    ipMasq: false,
    ipam: {
      type: "berth",
      dataDir: world.dataDir,
      ranges: [
        [{ subnet: "10.73.0.0/16", rangeStart: name === "red" ? "10.73.1.1" : "10.73.2.1" }],
        [{ subnet: "fd73::/64", rangeStart: name === "red" ? "fd73::1:1" : "fd73::2:1" }],
      ],
      routes: [],
    },
    ...more,
  });
}

async function links(): Promise<readonly string[]> {
  return (await world.links()).filter((link) => link !== "link brvlan.100");
}

async function add(id: string, config: Json): Promise<{ readonly four: string; readonly six: string }> {
  const added = await world.must({ command: "ADD", id, netns: id, config });
  await world.must({ command: "CHECK", id, netns: id, config: { ...config, prevResult: added } });
  const [four = "", six = ""] = (added.ips as readonly { readonly address: string }[]).map((ip) =>
    ip.address.replace(/\/.*/, ""),
  );
  return { four, six };
}

/** Whether a TCP connection is answered, which is by a refusal. Bash starts quickly even where this kernel is emulated. */
async function reaches(from: string, address: string): Promise<boolean> {
  const { code, stderr } = await world.inPod(from, "timeout", "3", "bash", "-c", `: </dev/tcp/${address}/9`);
  expect(code === 124 || stderr.includes("Connection refused") || stderr.includes("No route")).toBe(true);
  return stderr.includes("Connection refused");
}

describe.skipIf(!hasVlans)("vlan", () => {
  it("keeps pods of two VLANs apart on one bridge", async () => {
    const red = network("red", { vlan: 100, preserveDefaultVlan: false });
    const a = await add("a", red);
    await add("b", red);
    await add("c", network("blue", { vlan: 200, preserveDefaultVlan: false }));
    for (const address of [a.four, a.six]) {
      expect(await reaches("b", address)).toBe(true);
      expect(await reaches("c", address)).toBe(false);
    }
    const vlans = await world.run("bridge", "vlan", "show");
    expect(vlans).toMatch(/veth\w+\s+100 PVID Egress Untagged/);
    expect(vlans).not.toMatch(/veth\w+\s+1 /);
  });

  it("stays in the default VLAN too, unless told otherwise", async () => {
    await add("a", network("red", { vlan: 100 }));
    const vlans = await world.run("bridge", "vlan", "show");
    expect(vlans).toMatch(/veth\w+\s+1 Egress Untagged\s+100 PVID Egress Untagged/);
  });

  it("has the gateway in the VLAN", async () => {
    const config = network("red", { vlan: 100, isGateway: true, preserveDefaultVlan: false });
    const a = await add("a", config);
    await add("c", network("blue", { preserveDefaultVlan: false }));
    expect(await world.run("ip", "-br", "addr", "show", "brvlan.100")).toContain("10.73.0.1/16");
    expect(await reaches("a", "10.73.0.1")).toBe(true);
    expect(await reaches("a", "fd73::1")).toBe(true);
    expect(await reaches("c", a.four)).toBe(false);
  });

  it("is asked of a bridge that looked at none before", async () => {
    await add("c", network("blue"));
    await add("a", network("red", { vlan: 100 }));
    expect(await world.run("ip", "-d", "link", "show", "brvlan")).toContain("vlan_filtering 1");
  });

  it("is missed by CHECK when the port was taken out of it", async () => {
    const config = network("red", { vlan: 100 });
    const prevResult = await world.must({ command: "ADD", id: "a", netns: "a", config });
    const port = (prevResult.interfaces as readonly { readonly name: string }[])[1]?.name ?? "";
    await world.run("bridge", "vlan", "delete", "vid", "100", "dev", port);
    const check = { command: "CHECK", id: "a", netns: "a", config: { ...config, prevResult } };
    expect((await world.call(check)).json).toMatchObject({ code: 104, msg: `${port} is not in VLAN 100` });
  });
});

describe.skipIf(!hasVlans)("vlanTrunk", () => {
  it("carries its VLANs with their tags, and no others", async () => {
    const config = network("red", { vlanTrunk: [{ minID: 100, maxID: 101 }, { id: 103 }] });
    await add("a", config);
    await add("b", config);
    for (const [pod, host] of [
      ["a", 1],
      ["b", 2],
    ] as const) {
      for (const vlan of [101, 102, 103]) {
        const script = `ip link add link eth0 name v${vlan} type vlan id ${vlan} && ip addr add 10.${vlan}.0.${host}/24 dev v${vlan} && ip link set v${vlan} up`;
        expect((await world.inPod(pod, "sh", "-c", script)).stderr).toBe("");
      }
    }
    expect(await reaches("b", "10.101.0.1")).toBe(true);
    expect(await reaches("b", "10.103.0.1")).toBe(true);
    expect(await reaches("b", "10.102.0.1")).toBe(false);
  });
});

describe.skipIf(hasVlans)("on a kernel whose bridges know no VLANs", () => {
  it.each([{ vlan: 100 }, { vlanTrunk: [{ id: 5 }] }])("%j is refused, and nothing is left", async (more) => {
    const config = network("red", more);
    const { json } = await world.call({ command: "ADD", id: "a", netns: "a", config });
    expect(json).toMatchObject({ code: 2, msg: expect.stringContaining("CONFIG_BRIDGE_VLAN_FILTERING") });
    expect((await world.call({ command: "STATUS", config })).json).toMatchObject({ code: 50 });
  });
});
