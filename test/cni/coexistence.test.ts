import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import { askWhoami, serveWhoami } from "./whoami.ts";
import type { Json } from "./world.ts";
import { World } from "./world.ts";

// Beside the rules of kube-proxy in both of its modes, and of programs that own the whole ruleset.

let world: World;
let server = "";
let client = "";

const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] };
const serviceAddress = "10.96.0.10";

beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns("a", "b");
  if (!hasNat) return;
  server = await add("a", { runtimeConfig });
  client = await add("b", {});
  await serveWhoami(world, 80, "a");
});
afterAll(async () => {
  for (const id of ["a", "b"]) await world.must({ command: "DEL", id, config: world.config() });
  expect(await world.leftovers()).toEqual([]);
  await world.close();
});
afterEach(async () => {
  await world.outcomeOf("iptables", "-t", "nat", "-F");
  await world.outcomeOf("nft", "delete", "table", "ip", "kube-proxy");
});

async function add(id: string, more: Json): Promise<string> {
  const { ips } = await world.must({ command: "ADD", id, netns: id, config: world.config(more) });
  return (ips as readonly { readonly address: string }[])[0]?.address.replace(/\/.*/, "") ?? "";
}

const ask = (target: string, from?: string): Promise<string> => askWhoami(world, target, from);

async function hostPortsWork(): Promise<void> {
  expect(await ask("127.0.0.1:8080")).toBe("10.66.0.1");
  expect(await ask("10.66.0.1:8080", "b")).toBe("10.66.0.1");
}

describe.skipIf(!hasNat)("beside kube-proxy", () => {
  it("with iptables: services reach pods, which see who asks", async () => {
    const nat = (...rule: string[]) => world.run("iptables", "-t", "nat", ...rule);
    await nat("-N", "KUBE-SERVICES");
    await nat("-A", "PREROUTING", "-j", "KUBE-SERVICES");
    const match = ["-d", serviceAddress, "-p", "tcp", "--dport", "80"];
    await nat("-A", "KUBE-SERVICES", ...match, "-j", "DNAT", "--to-destination", `${server}:80`);
    expect(await ask(serviceAddress, "b")).toBe(client);
    await hostPortsWork();
  });

  it("with nftables: the same", async () => {
    await world.run("nft", "add", "table", "ip", "kube-proxy");
    const chain = "{ type nat hook prerouting priority dstnat; }";
    await world.run("nft", "add", "chain", "ip", "kube-proxy", "services", chain);
    const rule = `ip daddr ${serviceAddress} tcp dport 80 dnat to ${server}:80`;
    await world.run("nft", "add", "rule", "ip", "kube-proxy", "services", ...rule.split(" "));
    expect(await ask(serviceAddress, "b")).toBe(client);
    await hostPortsWork();
  });
});

describe.skipIf(!hasNat)("when another program has flushed the whole ruleset", () => {
  it("the server puts rules and host ports back", async () => {
    await world.run("nft", "flush", "ruleset");
    expect(await ask("127.0.0.1:8080")).toBe("");
    await eventually(async () => expect(await world.hostPorts()).toHaveLength(1), 12_000);
    await hostPortsWork();
  });

  it("but not those of a pod that has been deleted meanwhile", async () => {
    await world.addNetns("c");
    const config = world.config({ runtimeConfig: { portMappings: [{ hostPort: 8081, containerPort: 80 }] } });
    await world.must({ command: "ADD", id: "c", netns: "c", config });
    await world.run("nft", "flush", "ruleset");
    await world.must({ command: "DEL", id: "c", netns: "c", config });
    await eventually(async () => expect(await world.hostPorts()).toHaveLength(1), 12_000);
    await world.deleteNetns("c");
  });
});
