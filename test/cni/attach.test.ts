import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import { World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns("a", "b");
});
afterAll(() => world.close());

const port = (hostPort: number, more: object = {}) => ({
  runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: "tcp", ...more }] },
});

async function fetches(url: string, from?: string): Promise<boolean> {
  const command = ["curl", "-sS", "-o", "/dev/null", "-m", "2", url];
  const { code } = await (from === undefined ? world.outcomeOf(...command) : world.inPod(from, ...command));
  return code === 0;
}

describe.skipIf(!hasNat)("two pods", () => {
  it("reach each other, the host, and host ports from everywhere", async () => {
    await world.must({ command: "ADD", id: "a", netns: "a", config: world.config(port(8080)) });
    await world.must({ command: "ADD", id: "b", netns: "b", config: world.config() });
    world.start(
      "ip",
      "netns",
      "exec",
      "a",
      "python3",
      "-m",
      "http.server",
      "80",
      "--directory",
      "/usr/share/doc",
    );
    const listening = async (): Promise<boolean> => fetches("http://10.66.0.2/");
    for (let attempt = 0; attempt < 50 && !(await listening()); attempt++);
    expect(await fetches("http://10.66.0.2/", "b")).toBe(true);
    expect(await fetches("http://127.0.0.1:8080/")).toBe(true);
    expect(await fetches("http://10.66.0.1:8080/")).toBe(true);
    expect(await fetches("http://10.66.0.1:8080/", "b")).toBe(true);
    expect(await fetches("http://10.66.0.1:8080/", "a")).toBe(true);
    expect(await fetches("http://10.66.0.1:8081/")).toBe(false);
  });

  it("have a whole pod side: loopback, address, route, no IPv6", async () => {
    const { stdout: addresses } = await world.inPod("a", "ip", "-br", "addr");
    expect(addresses).toMatch(/^lo +UNKNOWN +127\.0\.0\.1\/8/m);
    expect(addresses).toMatch(/^eth0@\S+ +UP +10\.66\.0\.2\/16 *$/m);
    const { stdout: routes } = await world.inPod("a", "ip", "route");
    expect(routes).toContain("default via 10.66.0.1 dev eth0");
  });

  it("leave nothing when they are deleted", async () => {
    await world.must({ command: "DEL", id: "a", netns: "a", config: world.config(port(8080)) });
    await world.must({ command: "DEL", id: "b", netns: "b", config: world.config() });
    expect(await world.leftovers()).toEqual([]);
    expect((await world.inPod("a", "ip", "link", "show", "eth0")).code).not.toBe(0);
  });
});

describe.skipIf(!hasNat)("ADD", () => {
  afterEach(async () => {
    expect(await world.leftovers()).toEqual([]);
  });

  it("refuses a host port that a living pod has, and leaves nothing", async () => {
    await world.must({ command: "ADD", id: "a", netns: "a", config: world.config(port(8080)) });
    const before = await world.leases();
    const second = await world.call({
      command: "ADD",
      id: "b",
      netns: "b",
      config: world.config(port(8080)),
    });
    expect(second.code).toBe(1);
    expect(second.json).toMatchObject({
      code: 102,
      msg: "host port tcp 8080 belongs to container a of network testnet",
    });
    expect(await world.leases()).toEqual(before);
    await world.must({ command: "DEL", id: "a", netns: "a", config: world.config(port(8080)) });
  });

  it("takes over a host port whose pod is gone", async () => {
    await world.addNetns("c");
    await world.must({ command: "ADD", id: "c", netns: "c", config: world.config(port(8082)) });
    await world.run("ip", "netns", "exec", "c", "ip", "link", "delete", "eth0");
    await world.must({ command: "ADD", id: "b", netns: "b", config: world.config(port(8082)) });
    expect(await world.hostPorts()).toHaveLength(1);
    await world.must({ command: "DEL", id: "c", netns: "c", config: world.config(port(8082)) });
    expect(await world.hostPorts()).toHaveLength(1);
    await world.must({ command: "DEL", id: "b", netns: "b", config: world.config(port(8082)) });
    await world.deleteNetns("c");
  });

  it("gives a pod of IPv4 alone no IPv6 (CVE-2020-10749), and takes none from the pod's other interfaces", async () => {
    const disabled = async (name: string): Promise<string> =>
      (await world.inPod("a", "cat", `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`)).stdout.trim();
    await world.must({ command: "ADD", id: "a", netns: "a", config: world.config() });
    expect([await disabled("eth0"), await disabled("default")]).toEqual(["1", "0"]);
    expect((await world.inPod("a", "ip", "-6", "address", "show", "dev", "eth0")).stdout).toBe("");
    const again = await world.call({ command: "ADD", id: "a2", netns: "a", config: world.config() });
    expect(again.code).toBe(1);
    expect(await disabled("default")).toBe("0");
    await world.must({ command: "DEL", id: "a", netns: "a", config: world.config() });
  });

  it("refuses an interface that exists, and the plugin's own namespace", async () => {
    await world.must({ command: "ADD", id: "a", netns: "a", config: world.config() });
    const again = await world.call({ command: "ADD", id: "a2", netns: "a", config: world.config() });
    expect(again.json).toMatchObject({ code: 4 });
    const own = await world.call({
      command: "ADD",
      id: "o",
      netns: "/proc/self/ns/net",
      config: world.config(),
    });
    expect(own.json).toMatchObject({ code: 8 });
    const none = await world.call({ command: "ADD", id: "o", netns: "nowhere", config: world.config() });
    expect(none.json).toMatchObject({ code: 8 });
    await world.must({ command: "DEL", id: "a", netns: "a", config: world.config() });
    await world.must({ command: "ADD", id: "a", netns: "a", config: world.config() });
    await world.must({ command: "DEL", id: "a", netns: "a", config: world.config() });
  });

  it("says how many addresses there are when none is left", async () => {
    const ipam = {
      type: "berth",
      dataDir: world.dataDir,
      ranges: [
        [{ subnet: "10.67.0.0/24", rangeStart: "10.67.0.1", rangeEnd: "10.67.0.4", exclude: ["10.67.0.3"] }],
      ],
    };
    const config = world.config({ bridge: "brsmall", name: "small", ipam });
    await world.must({ command: "ADD", id: "a", netns: "a", config });
    await world.must({ command: "ADD", id: "b", netns: "b", config });
    expect((await world.leases("small")).toSorted()).toEqual(["10.67.0.2", "10.67.0.4"]);
    await world.addNetns("c");
    const full = await world.call({ command: "ADD", id: "c", netns: "c", config });
    expect(full.json).toMatchObject({ code: 100, msg: expect.stringContaining("2 of 2 in use") });
    const status = await world.call({ command: "STATUS", config });
    expect(status.json).toMatchObject({ code: 50 });
    await world.must({ command: "DEL", id: "a", netns: "a", config });
    expect((await world.call({ command: "STATUS", config })).code).toBe(0);
    await world.must({ command: "ADD", id: "c", netns: "c", config });
    await world.must({ command: "DEL", id: "b", config });
    await world.must({ command: "DEL", id: "c", config });
    expect(await world.leases("small")).toEqual([]);
    await world.deleteNetns("c");
  });

  it("gives wanted addresses, and refuses those that it can't", async () => {
    const wants = (ip: string) => world.config({ runtimeConfig: { ips: [ip] } });
    const added = await world.must({ command: "ADD", id: "a", netns: "a", config: wants("10.66.9.9/16") });
    expect(added.ips).toMatchObject([{ address: "10.66.9.9/16" }]);
    const call = (ip: string) => world.call({ command: "ADD", id: "b", netns: "b", config: wants(ip) });
    expect((await call("10.66.9.9")).json).toMatchObject({
      code: 101,
      msg: "wanted address 10.66.9.9 belongs to container a",
    });
    expect((await call("10.66.0.1")).json).toMatchObject({ code: 101 });
    expect((await call("192.168.1.1")).json).toMatchObject({ code: 7 });
    const args = world.call({
      command: "ADD",
      id: "b",
      netns: "b",
      config: world.config(),
      args: "IP=10.66.7.7",
    });
    expect((await args).json.ips).toMatchObject([{ address: "10.66.7.7/16" }]);
    await world.must({ command: "DEL", id: "a", config: world.config() });
    await world.must({ command: "DEL", id: "b", config: world.config() });
  });

  it("makes the bridge again when someone has deleted it", async () => {
    await world.must({ command: "ADD", id: "a", netns: "a", config: world.config() });
    await world.run("ip", "link", "delete", "brtest");
    await world.must({ command: "ADD", id: "b", netns: "b", config: world.config() });
    expect(await world.run("ip", "addr", "show", "brtest")).toContain("10.66.0.1/16");
    await world.must({ command: "DEL", id: "a", netns: "a", config: world.config() });
    await world.must({ command: "DEL", id: "b", netns: "b", config: world.config() });
  });
});

describe.skipIf(!hasNat)("DEL", () => {
  const cases: Readonly<Record<string, (netns: string) => Promise<void>>> = {
    "the namespace is gone": (netns) => world.deleteNetns(netns),
    "the link is gone": async (netns) => {
      await world.run("ip", "netns", "exec", netns, "ip", "link", "delete", "eth0");
    },
    "the leases are gone": () => rm(world.dataDir, { recursive: true }),
    "the rules are gone": async () => {
      await world.run("nft", "delete", "table", "inet", "berth");
    },
  };
  it.each(Object.keys(cases))("works when %s, and again after that", async (name) => {
    await world.addNetns("d");
    const config = world.config(port(8090));
    await world.must({ command: "ADD", id: "d", netns: "d", config });
    await cases[name]?.("d");
    await world.must({ command: "DEL", id: "d", netns: "d", config: world.config() });
    await world.must({ command: "DEL", id: "d", config });
    await world.must({ command: "DEL", id: "d", config });
    expect(await world.leftovers()).toEqual([]);
    await world.outcomeOf("ip", "netns", "delete", "d");
    expect(await readdir(join(world.directory, "networks/testnet")).catch(() => [])).not.toContain(
      "10.66.0.9",
    );
  });

  it("works without runtimeConfig and prevResult, by another process than ADD's", async () => {
    const config = world.config(port(8091));
    await world.must({ command: "ADD", id: "a", netns: "a", config, alone: true });
    expect(await world.hostPorts()).toHaveLength(1);
    await world.must({ command: "DEL", id: "a", config: world.config() });
    expect(await world.leftovers()).toEqual([]);
    await world.must({ command: "ADD", id: "a", netns: "a", config });
    await world.must({ command: "DEL", id: "a", config: world.config(), alone: true });
    expect(await world.leftovers()).toEqual([]);
  });

  it("does not judge what ADD would have refused", async () => {
    const bad = world.config({
      runtimeConfig: { portMappings: [{ hostPort: 99999, containerPort: 0 }], ips: ["x"] },
    });
    expect((await world.call({ command: "ADD", id: "a", netns: "a", config: bad })).json).toMatchObject({
      code: 7,
    });
    await world.must({ command: "DEL", id: "a", netns: "a", config: bad });
  });
});

describe("a network without rules of its own", () => {
  it("needs no packet filter", async () => {
    const config = world.config({ ipMasq: false });
    await world.must({ command: "ADD", id: "a", netns: "a", config });
    const { ips } = await world.must({ command: "ADD", id: "b", netns: "b", config });
    const [ip] = ips as readonly { readonly address: string }[];
    const address = ip?.address.replace(/\/.*/, "") ?? "";
    world.start("ip", "netns", "exec", "b", "python3", "-m", "http.server", "81", "-d", "/usr/share/doc");
    // The second kernel takes seconds to start an interpreter.
    await eventually(async () => expect(await fetches(`http://${address}:81/`, "a")).toBe(true), 20_000);
    expect(await fetches(`http://${address}:81/`)).toBe(true);
    await world.must({ command: "DEL", id: "a", netns: "a", config });
    await world.must({ command: "DEL", id: "b", netns: "b", config });
    expect(await world.leftovers()).toEqual([]);
  });
});
