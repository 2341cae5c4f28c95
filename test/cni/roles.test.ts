import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import type { Json } from "./world.ts";
import { executable, World } from "./world.ts";

// The plugin behind others, in front of others, and in the place of others.

let world: World;
let bin = "";

beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns("a", "b");
  bin = join(world.directory, "bin");
  await mkdir(bin);
  for (const name of ["bridge", "host-local", "portmap", "bandwidth", "loopback"]) {
    await symlink(executable, join(bin, name));
  }
});
afterAll(() => world.close());
afterEach(async () => {
  expect(await world.leftovers()).toEqual([]);
});

const reference = (type: string): string => join("/usr/lib/cni", type);
const base = { cniVersion: "1.0.0", name: "testnet" };

function referenceIpam(): Json {
  const subnet = "10.77.0.0/24";
  return {
    type: "host-local",
    dataDir: world.dataDir,
    ranges: [[{ subnet }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
}

async function fetches(url: string, from?: string): Promise<boolean> {
  const command = ["curl", "-gsS", "-o", "/dev/null", "-m", "2", url];
  const { code } = await (from === undefined ? world.outcomeOf(...command) : world.inPod(from, ...command));
  return code === 0;
}

const runtimeConfig = {
  portMappings: [{ hostPort: 8095, containerPort: 80, protocol: "tcp" }],
  bandwidth: { ingressRate: 80e6, ingressBurst: 8e6, egressRate: 80e6, egressBurst: 8e6 },
};

describe.skipIf(!hasNat).each([
  ["bridge", { bridge: "brref", isGateway: true, hairpinMode: true }],
  ["ptp", {}],
])("behind the reference set's %s", (type, more) => {
  it.each(["berth", "portmap"])("as %s: publishes ports, and passes the result on", async (name) => {
    const plugin = name === "berth" ? executable : join(bin, name);
    const first = { ...base, type, ...more, ipam: referenceIpam() };
    const prevResult = await world.must({
      command: "ADD",
      id: "a",
      netns: "a",
      config: first,
      plugin: reference(type),
    });
    const next = { ...base, type: name, prevResult, runtimeConfig };
    const passed = await world.must({ command: "ADD", id: "a", netns: "a", config: next, plugin });
    expect(passed).toEqual(prevResult);
    const server = world.start(
      "ip",
      "netns",
      "exec",
      "a",
      "python3",
      "-m",
      "http.server",
      "80",
      "-d",
      "/usr/share/doc",
    );
    const gateway = (prevResult.ips as readonly { readonly gateway: string }[])[0]?.gateway ?? "";
    await eventually(async () => expect(await fetches(`http://${gateway}:8095/`)).toBe(true));
    expect(await fetches("http://127.0.0.1:8095/")).toBe(true);
    expect(await fetches(`http://${gateway}:8095/`, "a")).toBe(true);
    await world.must({ command: "CHECK", id: "a", netns: "a", config: next, plugin });
    server.kill();
    await world.must({
      command: "DEL",
      id: "a",
      netns: "a",
      config: { ...next, runtimeConfig: undefined },
      plugin,
    });
    await world.must({
      command: "DEL",
      id: "a",
      netns: "a",
      config: { ...first, prevResult },
      plugin: reference(type),
    });
    expect(await world.hostPorts()).toEqual([]);
  });
});

describe("in the place of the reference set's", () => {
  it("host-local: its bridge gets addresses of ours", async () => {
    const config = { ...base, type: "bridge", bridge: "brref", isGateway: true, ipam: referenceIpam() };
    const path = { CNI_PATH: bin };
    const call = { id: "a", netns: "a", config, plugin: reference("bridge"), env: path };
    const added = await world.must({ ...call, command: "ADD" });
    expect(added).toMatchObject({
      ips: [{ address: expect.stringMatching(/^10\.77\.0\.\d+\/24$/), gateway: "10.77.0.1" }],
    });
    expect(await world.leases()).toHaveLength(1);
    await world.must({ ...call, command: "CHECK", config: { ...config, prevResult: added } });
    await world.must({ ...call, command: "DEL" });
    expect(await world.leases()).toEqual([]);
  });

  it("bridge: with its defaults", async () => {
    const config = { ...base, type: "bridge", isGateway: true, ipam: referenceIpam() };
    const call = { id: "a", netns: "a", config, plugin: join(bin, "bridge") };
    expect(await world.must({ ...call, command: "ADD" })).toMatchObject({
      interfaces: [{ name: "cni0" }, {}, {}],
    });
    await world.must({ ...call, command: "DEL" });
  });

  it("loopback: as containerd starts it", async () => {
    const config = { cniVersion: "0.3.1", name: "cni-loopback", type: "loopback" };
    const call = { id: "b", netns: "b", ifName: "lo", config, plugin: join(bin, "loopback") };
    expect(await world.must({ ...call, command: "ADD" })).toMatchObject({
      interfaces: [{ name: "lo", sandbox: "/run/netns/b" }],
      ips: [{ address: "127.0.0.1/8" }, { address: "::1/128" }],
    });
    expect((await world.inPod("b", "ip", "-br", "addr", "show", "lo")).stdout).toContain("127.0.0.1/8");
    await world.must({ ...call, command: "DEL" });
    await world.must({ ...call, command: "DEL", netns: "" });
  });

  it("nothing else", async () => {
    const config = { ...base, type: "macvlan" };
    const { json } = await world.call({ command: "ADD", id: "a", netns: "a", config });
    expect(json).toMatchObject({ code: 7, msg: expect.stringContaining('type "macvlan"') });
  });
});
