import { copyFile, mkdtempDisposable, readFile, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPlugin } from "../../cni-plugin/src/resident/plugin.ts";
import { hasNat } from "../lib/kernel.ts";
import type { CallSpec, Json } from "./world.ts";
import { executable, World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns("a", "b");
});
afterAll(() => world.close());

const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

describe("the executable", () => {
  it("says what it is when it is run by hand", async () => {
    const { code, stdout, stderr } = await world.outcomeOf("env", "-i", executable);
    expect([code, stdout]).toEqual([0, ""]);
    expect(stderr).toContain("CNI plugin berth");
    expect(stderr).toContain(versions.join(", "));
  });

  it("answers VERSION by itself, as the program does", async () => {
    for (const config of ['{"cniVersion":"0.4.0"}', '{ "cniVersion" : "1.0.0", "x": 1 }', "", "{}"]) {
      const { stdout, code } = await world.call({ command: "VERSION", config });
      expect(code).toBe(0);
      const program = await createPlugin().run({ CNI_COMMAND: "VERSION" }, Buffer.from(config));
      expect(stdout).toBe(program.stdout.toString());
    }
  });

  it("is a few kilobytes, and needs no library", async () => {
    const bytes = await readFile(executable);
    expect(bytes.length).toBeLessThan(16384);
    expect(bytes.includes("libc.so")).toBe(false);
  });
});

describe("the program by itself", () => {
  const dist = join(import.meta.dirname, "../../dist");
  const places = ["as built", "without its cache", "with half a cache", "with a cache that is none"] as const;

  /** What it prints, and how, with such a cache beside it. */
  async function printed(place: (typeof places)[number]): Promise<string> {
    await using folder = await mkdtempDisposable(join(tmpdir(), "berth-cni-"));
    for (const name of ["cni.cjs", "cni-program.js"])
      await copyFile(join(dist, name), join(folder.path, name));
    await symlink(join(dist, "../node_modules"), join(folder.path, "node_modules"));
    const cache = await readFile(join(dist, "cni-program.cache"));
    const contents = { "as built": cache, "with half a cache": cache.subarray(0, cache.length / 2) };
    const content = place in contents ? contents[place as keyof typeof contents] : Buffer.alloc(4096, "x");
    if (place !== "without its cache") await writeFile(join(folder.path, "cni-program.cache"), content);
    const variables = ["CNI_COMMAND=VERSION", `PATH=${process.env.PATH}`];
    const outcome = await world.outcomeOf(
      "env",
      "-i",
      ...variables,
      process.execPath,
      join(folder.path, "cni.cjs"),
    );
    return `${outcome.code}\n${outcome.stdout}${outcome.stderr}`;
  }

  it("runs with or without what V8 compiled of it", async () => {
    const outcomes = await Promise.all(places.map(printed));
    expect(outcomes[0]).toContain('"1.1.0"');
    expect(new Set(outcomes).size).toBe(1);
  });

  it("was compiled by the Node that runs it, and V8 takes that", async () => {
    const check = `
      const [source, cachedData] = process.argv.slice(1).map((path) => require("fs").readFileSync(path));
      console.log(new (require("vm").Script)(String(source), { cachedData }).cachedDataRejected)`;
    const files = ["js", "cache"].map((type) => join(dist, `cni-program.${type}`));
    const node = join(dist, "../node_modules/.bin/node");
    expect((await world.outcomeOf(node, "-e", check, ...files)).stdout.trim()).toBe("false");
  });
});

/** Runs the call with the server, without, and inside a process as berthd does; all three have to print the same. */
async function threeWays(spec: CallSpec, before: () => Promise<unknown>): Promise<string> {
  const printed: string[] = [];
  const ways = [
    () => world.call(spec),
    () => world.call({ ...spec, alone: true }),
    () => world.callInProcess(spec),
  ];
  for (const way of ways) {
    await before();
    const { stdout, code } = await way();
    printed.push(`${code}\n${stdout}`);
  }
  expect(printed[1]).toBe(printed[0]);
  expect(printed[2]).toBe(printed[0]);
  return printed[0] ?? "";
}

const del = (id: string, config: Json) => async (): Promise<unknown> =>
  Promise.all([
    world.must({ command: "DEL", id, netns: id, config }),
    world.run("sh", "-c", `rm -f ${world.dataDir}/testnet/last_reserved_ip.0`),
  ]);

describe.skipIf(!hasNat)("with a server, without, and in process", () => {
  it.each(versions)("ADD prints the same in %s, byte for byte", async (cniVersion) => {
    const runtimeConfig = {
      ips: ["10.66.1.1"],
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
    };
    const config = world.config({ cniVersion, runtimeConfig });
    const printed = await threeWays({ command: "ADD", id: "a", netns: "a", config }, del("a", config));
    expect(printed).toMatch(/^0\n/);
    expect(printed).toContain(`"cniVersion": "${cniVersion}"`);
    expect(printed).toContain("10.66.1.1/16");
    await del("a", config)();
  });

  it.each<[string, Partial<CallSpec>, number]>([
    ["no command that exists", { command: "NONE" }, 4],
    ["no namespace", { command: "ADD", id: "x" }, 4],
    ["a namespace that does not exist", { command: "ADD", id: "x", netns: "nowhere" }, 8],
    [
      "a version from the future",
      { command: "ADD", id: "x", netns: "b", config: { cniVersion: "2.0.0", name: "x" } },
      1,
    ],
    ["no JSON", { command: "ADD", id: "x", netns: "b", config: "{" }, 6],
    ["no name", { command: "ADD", id: "x", netns: "b", config: { cniVersion: "1.0.0" } }, 7],
    [
      "CHECK in 0.3.1",
      { command: "CHECK", id: "x", netns: "b", config: { cniVersion: "0.3.1", name: "x" } },
      1,
    ],
    ["GC in 1.0.0", { command: "GC", config: { cniVersion: "1.0.0", name: "x" } }, 1],
    ["STATUS in 1.0.0", { command: "STATUS", config: { cniVersion: "1.0.0", name: "x" } }, 1],
    ["CHECK without prevResult", { command: "CHECK", id: "x", netns: "b" }, 7],
  ])("the same error for %s", async (_, spec, code) => {
    const printed = await threeWays({ command: "ADD", config: world.config(), ...spec } as CallSpec, () =>
      Promise.resolve(),
    );
    expect(printed).toMatch(/^1\n/);
    expect(JSON.parse(printed.slice(2))).toMatchObject({ code, msg: expect.stringMatching(/./) });
  });
});

describe.skipIf(!hasNat)("CHECK", () => {
  const ports = { runtimeConfig: { portMappings: [{ hostPort: 8085, containerPort: 80, protocol: "tcp" }] } };
  const damages: Readonly<Record<string, readonly string[]>> = {
    "the pod's interface": ["ip", "-n", "a", "link", "delete", "eth0"],
    "the pod's address": ["ip", "-n", "a", "addr", "flush", "dev", "eth0"],
    "the pod's route": ["ip", "-n", "a", "route", "delete", "default"],
    "the pod's interface being up": ["ip", "-n", "a", "link", "set", "eth0", "down"],
    "the pod's MAC": ["ip", "-n", "a", "link", "set", "eth0", "address", "02:00:00:00:00:01"],
    "the bridge": ["ip", "link", "delete", "brtest"],
    "the bridge's port": ["sh", "-c", "ip link set $(ip -br link show master brtest | cut -d@ -f1) nomaster"],
    "the lease": ["sh", "-c", "rm /tmp/berth-cni-test-*/networks/testnet/10.66.*"],
    "the host port": ["nft", "flush", "map", "inet", "berth", "hostports4"],
  };

  it("passes when nothing is missing, whatever later plugins added", async () => {
    const config = world.config(ports);
    const prevResult = await world.must({ command: "ADD", id: "a", netns: "a", config });
    await world.must({ command: "CHECK", id: "a", netns: "a", config: { ...config, prevResult } });
    const ips = [...(prevResult.ips as readonly Json[]), { address: "192.0.2.1/32" }];
    const interfaces = [...(prevResult.interfaces as readonly Json[]), { name: "net1", sandbox: "/x" }];
    const later = {
      ...prevResult,
      interfaces,
      ips: ips.map((ip, index) => (index === 1 ? { ...ip, interface: 3 } : ip)),
    };
    await world.must({ command: "CHECK", id: "a", netns: "a", config: { ...config, prevResult: later } });
    await world.must({ command: "DEL", id: "a", netns: "a", config });
  });

  it.each(Object.keys(damages))("fails when %s is gone", async (name) => {
    const config = world.config(ports);
    const prevResult = await world.must({ command: "ADD", id: "a", netns: "a", config });
    const damage = (damages[name] ?? []).map((word) =>
      word.replace("/tmp/berth-cni-test-*", world.directory),
    );
    await world.run(...damage);
    const { code, json } = await world.call({
      command: "CHECK",
      id: "a",
      netns: "a",
      config: { ...config, prevResult },
    });
    expect(code).toBe(1);
    expect(json).toMatchObject({ code: 104 });
    await world.must({ command: "DEL", id: "a", netns: "a", config });
    expect(await world.leftovers()).toEqual([]);
  });
});

describe.skipIf(!hasNat)("chains", () => {
  it("is the first plugin before portmap, bandwidth, firewall and tuning of the reference set", async () => {
    const list = ["portmap", "bandwidth", "firewall", "tuning"];
    const config = world.config({
      cniVersion: "1.0.0",
      runtimeConfig: {
        bandwidth: undefined,
        portMappings: undefined,
      },
    });
    let result = await world.must({ command: "ADD", id: "a", netns: "a", config });
    for (const type of list) {
      const next = { cniVersion: "1.0.0", name: "testnet", type, prevResult: result, backend: "iptables" };
      result = await world.must({
        command: "ADD",
        id: "a",
        netns: "a",
        config: next,
        plugin: join("/usr/lib/cni", type),
      });
    }
    for (const type of list.toReversed()) {
      const next = { cniVersion: "1.0.0", name: "testnet", type, prevResult: result, backend: "iptables" };
      await world.must({
        command: "DEL",
        id: "a",
        netns: "a",
        config: next,
        plugin: join("/usr/lib/cni", type),
      });
    }
    await world.must({ command: "DEL", id: "a", netns: "a", config: { ...config, prevResult: result } });
    expect(await world.leftovers()).toEqual([]);
  });

  it("gets addresses from host-local and static of the reference set, and gives them to its bridge", async () => {
    const foreign = world.config({
      cniVersion: "1.0.0",
      ipam: {
        type: "static",
        addresses: [{ address: "10.66.8.8/16", gateway: "10.66.0.1" }],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    });
    const added = await world.must({ command: "ADD", id: "a", netns: "a", config: foreign });
    expect(added).toMatchObject({
      ips: [{ address: "10.66.8.8/16", interface: 2 }],
      routes: [{ dst: "0.0.0.0/0" }],
    });
    await world.must({ command: "CHECK", id: "a", netns: "a", config: { ...foreign, prevResult: added } });
    await world.must({ command: "DEL", id: "a", netns: "a", config: foreign });
    const unknown = await world.call({
      command: "ADD",
      id: "a",
      netns: "a",
      config: world.config({ ipam: { type: "nonesuch" } }),
    });
    expect(unknown.json).toMatchObject({ code: 7, msg: expect.stringContaining('ipam.type "nonesuch"') });
    expect(await world.leftovers()).toEqual([]);
  });
});
