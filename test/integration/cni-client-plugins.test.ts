import { closeSync, openSync } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Protocol } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { expectNothingLeft, type Footprint, footprint } from "../lib/footprint.ts";
import { nginx, podConfig, pull, TestPod } from "../lib/pod.ts";

// Foreign CNI plugins under a whole server: Debian's reference plugins, and a script that can be told to misbehave.

const chain = (dir: string) => ({
  cniVersion: "1.0.0",
  name: "reference",
  plugins: [
    {
      type: "bridge",
      bridge: "clientbr0",
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: "host-local",
        dataDir: join(dir, "leases"),
        ranges: [[{ subnet: "10.186.0.0/24" }]],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    },
    { type: "portmap", capabilities: { portMappings: true }, snat: true },
    { type: "firewall" },
    { type: "bandwidth", capabilities: { bandwidth: true } },
    { type: "tuning", sysctl: { "net.core.somaxconn": "512" } },
  ],
});

/** Notes each call, and does what the file named for the command says. */
const script = (dir: string) => `#!/bin/sh
input=$(cat)
printf '%s\\n' "$CNI_COMMAND" >> ${dir}/calls
printf '%s' "$input" > ${dir}/stdin.$CNI_COMMAND
env | sort > ${dir}/env.$CNI_COMMAND
echo "a word on $CNI_COMMAND" >&2
[ ! -e ${dir}/do.$CNI_COMMAND ] || . ${dir}/do.$CNI_COMMAND
[ "$CNI_COMMAND" != ADD ] || printf '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"%s"}],"ips":[{"address":"10.9.9.9/24","interface":0}]}' "$CNI_NETNS"
`;

/** `table FAMILY NAME`, each. */
async function nftTables(): Promise<readonly string[]> {
  return (await run("nft", ["list", "tables"])).split("\n").filter((line) => line !== "");
}

describe("the reference plugins", () => {
  let dir: string;
  let server: Berthd;
  let tables: readonly string[];

  beforeAll(async () => {
    dir = await mkdtemp("/tmp/berth-client-");
    tables = await nftTables();
    server = await Berthd.start({ cni: { "10-reference.conflist": JSON.stringify(chain(dir)) } });
    await pull(server);
    await pull(server, nginx);
    // The bridge and the plugins' own chains stay from the first pod on.
    await using _first = await TestPod.run(server, {
      portMappings: [{ containerPort: 80, hostPort: 12090 }],
    });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
    await run("ip", ["link", "delete", "clientbr0"]);
    // The tables of iptables, which the plugins never remove.
    for (const table of (await nftTables()).filter((name) => !tables.includes(name))) {
      await run("nft", ["delete", ...table.split(" ")]);
    }
  });

  /** Of what pods leave behind; iptables' own tables come and stay, and a restart is another process. */
  async function expectNothingOf(before: Footprint): Promise<void> {
    const kinds = ["process ", "fd ", "nft table "];
    const now = [...(await footprint(server))].filter((thing) =>
      kinds.some((kind) => thing.startsWith(kind)),
    );
    await expectNothingLeft(server, new Set([...before, ...now]), 10_000);
  }

  it("carry traffic, map ports and limit bandwidth, and leave nothing", async () => {
    const before = await footprint(server);
    const pod = await TestPod.run(server, {
      portMappings: [{ protocol: Protocol.TCP, containerPort: 80, hostPort: 12091 }],
      annotations: { "kubernetes.io/egress-bandwidth": "20M" },
    });
    const web = await pod.start({ image: { image: nginx }, command: [] });
    expect(await pod.ip()).toMatch(/^10\.186\.0\./);
    const through = () => fetch("http://127.0.0.1:12091/", { signal: AbortSignal.timeout(2000) });
    expect((await eventually(through)).status).toBe(200);
    expect(await web.sh("cat /proc/sys/net/core/somaxconn")).toBe("512");
    expect(await run("tc", ["qdisc"])).toContain("rate 20Mbit");
    await pod.remove();
    await expectNothingOf(before);
    expect((await readdir(join(dir, "leases/reference"))).filter((name) => /^\d/.test(name))).toEqual([]);
  });

  it("serve ten pods at once, across a restart", async () => {
    await server.restart();
    const before = await footprint(server);
    const pods = await Promise.all(Array.from({ length: 10 }, () => TestPod.run(server)));
    const ips = await Promise.all(pods.map((pod) => pod.ip()));
    expect(new Set(ips).size).toBe(10);
    await server.restart();
    expect(await Promise.all(pods.map((pod) => pod.ip()))).toEqual(ips);
    await Promise.all(pods.map((pod) => pod.remove()));
    await expectNothingOf(before);
  });
});

describe("a plugin that misbehaves", () => {
  let dir: string;
  let server: Berthd;
  const calls = async () => (await readFile(join(dir, "calls"), "utf8")).trim().split("\n");
  const on = (command: string, text: string) => writeFile(join(dir, `do.${command}`), text);

  beforeAll(async () => {
    dir = await mkdtemp("/tmp/berth-client-");
    await writeFile(join(dir, "odd"), script(dir));
    await chmod(join(dir, "odd"), 0o755);
    const list = {
      cniVersion: "1.1.0",
      name: "odd",
      plugins: [{ type: "odd", capabilities: { dns: true } }],
    };
    server = await Berthd.start({
      cni: { "10-odd.conflist": JSON.stringify(list) },
      flags: ["--cni-bin-dir", dir, "--cni-timeout-seconds", "2"],
    });
    await pull(server);
  });
  afterEach(async () => {
    const orders = (await readdir(dir)).filter((name) => name.startsWith("do."));
    await Promise.all(["calls", ...orders].map((name) => rm(join(dir, name), { force: true })));
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  it("is told what the specification says", async () => {
    await using pod = await TestPod.run(server, { dnsConfig: { servers: ["10.0.0.10"] } });
    expect(await pod.ip()).toBe("10.9.9.9");
    const env = await readFile(join(dir, "env.ADD"), "utf8");
    expect(env).toContain(`CNI_CONTAINERID=${pod.id}`);
    expect(env).toMatch(/^CNI_IFNAME=eth0$/m);
    expect(env).toMatch(new RegExp(`^CNI_PATH=${dir}`, "m"));
    expect(env).toMatch(/^CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=pod-/m);
    expect(env).toMatch(/^PATH=.*\/usr\/sbin/m);
    const stdin = JSON.parse(await readFile(join(dir, "stdin.ADD"), "utf8"));
    expect(stdin).toMatchObject({
      cniVersion: "1.1.0",
      name: "odd",
      type: "odd",
      runtimeConfig: { dns: { servers: ["10.0.0.10"] } },
    });
    expect(await server.log()).toContain("a word on ADD");
  });

  it("is undone when it fails, in its own words", async () => {
    const before = await footprint(server);
    await on("ADD", `echo '{"code":100,"msg":"the switch is on fire","details":"port 7"}'; exit 1`);
    await expect(TestPod.run(server)).rejects.toThrow(/odd, ADD .*the switch is on fire: port 7/);
    expect(await calls()).toContain("DEL");
    await expectNothingLeft(server, before);
  });

  it("is killed when it takes too long, and undone", async () => {
    const before = await footprint(server);
    await on("ADD", "sleep 60");
    await expect(TestPod.run(server)).rejects.toThrow(/no answer within 2 s/);
    expect(await calls()).toContain("DEL");
    await expectNothingLeft(server, before);
  });

  it("doesn't go on when the server is killed", async () => {
    await on("ADD", `sleep 2; touch ${dir}/late`);
    const { runtime } = server;
    const failed = expect(runtime.runPodSandbox({ config: podConfig(server) })).rejects.toThrow();
    await eventually(async () => expect(await calls()).toContain("ADD"));
    await server.restart("SIGKILL");
    await failed;
    await eventually(async () => expect(await calls()).toContain("DEL"));
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(await readdir(dir)).not.toContain("late");
  });

  it("is undone when its result has no address", async () => {
    await on("ADD", `echo '{"ips":[]}'; exit 0`);
    await expect(TestPod.run(server)).rejects.toThrow(/no address/);
    expect(await calls()).toContain("DEL");
  });

  it("is tried again while somebody still writes it", async () => {
    const path = join(dir, "odd");
    const writer = openSync(path, "r+");
    const timer = setTimeout(() => closeSync(writer), 1500);
    await using pod = await TestPod.run(server);
    expect(await pod.ip()).toBe("10.9.9.9");
    clearTimeout(timer);
  });

  it("decides with STATUS whether the network is ready", async () => {
    const condition = async () => {
      const { status } = await server.runtime.status();
      return status?.conditions.find(({ type }) => type === "NetworkReady");
    };
    await eventually(async () => expect((await condition())?.status).toBe(true));
    await on("STATUS", `echo '{"code":50,"msg":"the agent is down"}'; exit 1`);
    await eventually(async () => {
      expect(await condition()).toMatchObject({
        status: false,
        message: expect.stringContaining("the agent is down"),
      });
    }, 10_000);
    await rm(join(dir, "do.STATUS"));
    await eventually(async () => expect((await condition())?.status).toBe(true), 5000);
  });

  it("is told at start which attachments are valid, and to delete those that no pod has", async () => {
    await using pod = await TestPod.run(server);
    const results = join(server.dir, "cni/results");
    const [own = ""] = (await readdir(results)).filter((name) => name.includes(pod.id));
    const orphan = "e".repeat(64);
    const entry = await readFile(join(results, own), "utf8");
    await writeFile(join(results, own.replace(pod.id, orphan)), entry.replaceAll(pod.id, orphan));
    await server.restart("SIGKILL");
    await eventually(async () => expect(await calls()).toEqual(expect.arrayContaining(["DEL", "GC"])));
    expect(await readFile(join(dir, "env.DEL"), "utf8")).toContain(`CNI_CONTAINERID=${orphan}`);
    const stdin = JSON.parse(await readFile(join(dir, "stdin.GC"), "utf8"));
    expect(stdin["cni.dev/valid-attachments"]).toEqual([{ containerID: pod.id, ifname: "eth0" }]);
    expect((await readdir(results)).filter((name) => name.includes(orphan))).toEqual([]);
  });

  it("can't keep a pod from being stopped for ever", async () => {
    const pod = await TestPod.run(server);
    await on("DEL", "exit 1");
    const stopped = pod.remove();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await rm(join(dir, "do.DEL"));
    await stopped;
    await eventually(async () => expect(await readdir(join(server.dir, "cni/results"))).toEqual([]), 15_000);
  });
});
