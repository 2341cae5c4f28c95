import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasNat } from "../lib/kernel.ts";
import { Firewalld } from "./firewalld.ts";
import { askWhoami, serveWhoami } from "./whoami.ts";
import type { Json } from "./world.ts";
import { World } from "./world.ts";

// Pods a and b on berth0, c on berth1, for a while d on berth2; all but a come when firewalld runs already. a and `outside` are asked at
// port 80, the host at port 9000, and a by the host's port 8080 too.

let world: World;
let firewalld: Firewalld;

const pods = { a: 0, b: 0, c: 1 } as const;

function network(number: 0 | 1 | 2, more: Json = {}): Json {
  return world.config({
    name: `net${number}`,
    bridge: `berth${number}`,
    ipam: {
      type: "berth",
      dataDir: world.dataDir,
      ranges: [[{ subnet: `10.66.${number}.0/24` }], [{ subnet: `fd66:${number}::/64` }]],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
    ...more,
  });
}

async function add(id: string, number: 0 | 1 | 2, hostPort?: number): Promise<Json> {
  const portMappings = [{ hostPort, containerPort: 80, protocol: "tcp" }];
  const config = network(number, hostPort === undefined ? {} : { runtimeConfig: { portMappings } });
  const prevResult = await world.must({ command: "ADD", id, netns: id, config });
  await world.must({ command: "CHECK", id, netns: id, config: { ...config, prevResult } });
  return config;
}

/** Whether firewalld sees what a bridge passes on. Kubernetes wants it to. */
async function rulesSeeBridged(value: 0 | 1): Promise<void> {
  const files = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];
  await world.run("sysctl", "-qw", ...files.map((file) => `net.bridge.${file}=${value}`));
}

/** Who asks whom, and whom the answer has to name. */
type Ways = Readonly<Record<string, { readonly from?: string; readonly to: string; readonly as: string }>>;

/** What firewalld lets through by itself: what the host begins, and what has been published. */
const publishedWays: Ways = {
  "host to pod": { to: "10.66.0.2:80", as: "10.66.0.1" },
  "host to pod, IPv6": { to: "[fd66::2]:80", as: "fd66::1" },
  "host port from outside": { from: "outside", to: "192.0.2.1:8080", as: "192.0.2.2" },
  "host port from outside, IPv6": { from: "outside", to: "[2001:db8::1]:8080", as: "2001:db8::2" },
  "host port from localhost": { to: "127.0.0.1:8080", as: "10.66.0.1" },
  "host port from the host": { to: "192.0.2.1:8080", as: "192.0.2.1" },
  "host port from the host, IPv6": { to: "[2001:db8::1]:8080", as: "2001:db8::1" },
  "host port from the pod itself": { from: "a", to: "192.0.2.1:8080", as: "10.66.0.1" },
  "host port from a pod": { from: "b", to: "192.0.2.1:8080", as: "10.66.0.1" },
  "host port from a pod, IPv6": { from: "b", to: "[2001:db8::1]:8080", as: "fd66::1" },
  "host port from another bridge": { from: "c", to: "192.0.2.1:8080", as: "10.66.0.1" },
};

const bridgedWays: Ways = {
  "pod to pod": { from: "b", to: "10.66.0.2:80", as: "10.66.0.3" },
  "pod to pod, IPv6": { from: "b", to: "[fd66::2]:80", as: "fd66::3" },
};

const forwardedWays: Ways = {
  "pod to another bridge": { from: "c", to: "10.66.0.2:80", as: "10.66.0.1" },
  "pod to another bridge, IPv6": { from: "c", to: "[fd66::2]:80", as: "fd66::1" },
  "pod to outside": { from: "a", to: "192.0.2.2:80", as: "192.0.2.1" },
  "pod to outside, IPv6": { from: "a", to: "[2001:db8::2]:80", as: "2001:db8::1" },
  "pod to host": { from: "a", to: "10.66.0.1:9000", as: "10.66.0.2" },
  "pod to host, IPv6": { from: "a", to: "[fd66::1]:9000", as: "fd66::2" },
};

const routedWays: Ways = {
  "outside to pod": { from: "outside", to: "10.66.0.2:80", as: "192.0.2.2" },
  "outside to pod, IPv6": { from: "outside", to: "[fd66::2]:80", as: "2001:db8::2" },
};

async function expectOpen(ways: Ways, isOpen = true): Promise<void> {
  const found: Record<string, string> = {};
  const expected: Record<string, string> = {};
  for (const [name, { from, to, as }] of Object.entries(ways)) {
    found[name] = await askWhoami(world, to, from);
    expected[name] = isOpen ? as : "";
  }
  expect(found).toEqual(expected);
}

const expectClosed = (ways: Ways): Promise<void> => expectOpen(ways, false);

const everyWay: Ways = { ...publishedWays, ...bridgedWays, ...forwardedWays };

/** With the kernel's numbers for rules, which are others when something has been put back. */
const ourTable = (): Promise<string> => world.run("nft", "-a", "list", "table", "inet", "berth");

const bridges = ["berth0", "berth1", "berth2"];

/** What the plugin's documentation tells to run, for every bridge. */
async function trustBridges(): Promise<void> {
  const readme = await readFile(join(import.meta.dirname, "../../cni-plugin/README.md"), "utf8");
  const command = /`(firewall-cmd [^`]*--add-interface=berth0[^`]*)`/.exec(readme)?.[1];
  if (command === undefined) throw new Error("README.md has no command for firewalld any more");
  for (const bridge of bridges) await firewalld.shell(command.replaceAll("berth0", bridge));
}

async function distrustBridges(): Promise<void> {
  const removals = bridges.map((bridge) => `--remove-interface=${bridge}`);
  await firewalld.command("--permanent", "--zone=trusted", ...removals);
  await firewalld.command("--reload");
}

beforeAll(async () => {
  if (!hasNat) return;
  world = await World.create();
  await world.startServer();
  await world.addNetns(...Object.keys(pods));
  await world.addOutside();
  await add("a", pods.a, 8080);
  firewalld = await Firewalld.start(world);
  await add("b", pods.b);
  await add("c", pods.c);
  await rulesSeeBridged(1);
  for (const netns of ["a", "outside"]) await serveWhoami(world, 80, netns);
  await serveWhoami(world, 9000);
});
afterAll(async () => {
  if (!hasNat) return;
  try {
    for (const [id, number] of Object.entries(pods))
      await world.must({ command: "DEL", id, netns: id, config: network(number) });
    await world.run("ip", "link", "delete", "out0");
    for (const name of ["net0", "net1"]) expect(await world.leftovers(name)).toEqual([]);
  } finally {
    await world.close();
  }
});

describe.skipIf(!hasNat)("beside firewalld as it comes", () => {
  it("published ports are open, and nothing else that is forwarded", async () => {
    await expectOpen(publishedWays);
    await expectClosed({ ...bridgedWays, ...forwardedWays, ...routedWays });
  });

  it("pods of one bridge meet where rules for IP don't see them", async () => {
    await rulesSeeBridged(0);
    await expectOpen(bridgedWays);
    await expectClosed(forwardedWays);
    await rulesSeeBridged(1);
  });
});

const disturbances: readonly (readonly [string, () => Promise<unknown>])[] = [
  ["at once", async () => undefined],
  ["after a reload", () => firewalld.command("--reload")],
  ["after a complete reload", () => firewalld.command("--complete-reload")],
  ["after a restart", () => firewalld.restart()],
];

describe.skipIf(!hasNat)("with the bridges in firewalld's trusted zone", () => {
  beforeAll(trustBridges);
  afterAll(distrustBridges);

  it.each(disturbances)("everything of pods gets through, %s", async (_when, disturb) => {
    const before = await ourTable();
    await disturb();
    expect(await ourTable()).toBe(before);
    await expectOpen(everyWay);
    await expectClosed(routedWays);
  });

  it("and with its iptables backend", async () => {
    await firewalld.useBackend("iptables");
    await firewalld.restart();
    expect(await world.run("iptables", "-S", "FORWARD")).toContain("FORWARD_ZONES");
    await expectOpen(everyWay);
    await expectClosed(routedWays);
    await firewalld.useBackend("nftables");
    await firewalld.restart();
  });

  it("pods of other nodes get in by a trusted source", async () => {
    for (const source of ["192.0.2.2", "2001:db8::2"])
      await firewalld.command("--zone=trusted", `--add-source=${source}`);
    await expectOpen(routedWays);
    await firewalld.command("--reload");
    await expectClosed(routedWays);
  });

  it("a pod comes, on a bridge that was not there, and goes, and leaves nothing", async () => {
    await world.addNetns("d");
    const before = await world.hostPorts();
    const config = await add("d", 2, 8081);
    await serveWhoami(world, 80, "d");
    expect(await askWhoami(world, "192.0.2.2:80", "d")).toBe("192.0.2.1");
    expect(await askWhoami(world, "192.0.2.1:8081", "outside")).toBe("192.0.2.2");
    await firewalld.command("--reload");
    await world.must({ command: "DEL", id: "d", netns: "d", config });
    expect(await askWhoami(world, "192.0.2.1:8081", "outside")).toBe("");
    expect(await world.hostPorts()).toEqual(before);
    expect(await world.leases("net2")).toEqual([]);
    await world.deleteNetns("d");
  });
});
