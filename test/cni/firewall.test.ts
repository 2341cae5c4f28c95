import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import type { Json } from "./world.ts";
import { World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns("a", "b", "c");
});
afterAll(() => world.close());
afterEach(async () => {
  for (const id of ["a", "b", "c"]) {
    for (const name of ["one", "two"] as const) {
      await world.must({ command: "DEL", id, config: network(name, { ingressPolicy: "same-namespace" }) });
    }
  }
  expect(await world.leftovers("one")).toEqual([]);
});

function network(name: "one" | "two", more: Json = {}): Json {
  return world.config({
    name,
    bridge: `br${name}`,
    ipam: {
      type: "berth",
      dataDir: world.dataDir,
      ranges: [
        [{ subnet: name === "one" ? "10.71.0.0/16" : "10.72.0.0/16" }],
        [{ subnet: name === "one" ? "fd71::/64" : "fd72::/64" }],
      ],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
    ...more,
  });
}

interface Pod {
  readonly four: string;
  readonly six: string;
}

async function add(id: string, config: Json, namespace?: string): Promise<Pod> {
  const args = namespace === undefined ? {} : { args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace}` };
  const added = await world.must({ command: "ADD", id, netns: id, config, ...args });
  await world.must({ command: "CHECK", id, netns: id, config: { ...config, prevResult: added } });
  const [four = "", six = ""] = (added.ips as readonly { readonly address: string }[]).map((ip) =>
    ip.address.replace(/\/.*/, ""),
  );
  return { four, six };
}

/** Whether a TCP connection is answered, be it by a refusal. */
async function answers(from: string | undefined, address: string, port: number): Promise<boolean> {
  const script = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET); s.settimeout(0.7)
try: s.connect((sys.argv[1], int(sys.argv[2])))
except ConnectionRefusedError: pass
except OSError: sys.exit(1)
`;
  const command = ["python3", "-c", script, address, String(port)];
  const { code } = await (from === undefined ? world.outcomeOf(...command) : world.inPod(from, ...command));
  return code === 0;
}

/** The same of both families, which have to agree. */
async function reaches(from: string | undefined, { four, six }: Pod, port = 9): Promise<boolean> {
  const [by4, by6] = await Promise.all([answers(from, four, port), answers(from, six, port)]);
  expect(by6, `${six} from ${from ?? "the host"}`).toBe(by4);
  return by4;
}

const gateway: Pod = { four: "10.71.0.1", six: "fd71::1" };

describe.skipIf(!hasNat)("ingressPolicy", () => {
  it("open: networks reach each other", async () => {
    const a = await add("a", network("one"));
    await add("b", network("two"));
    expect(await reaches("b", a)).toBe(true);
  });

  it("same-bridge: keeps pods of other bridges out, and nobody else", async () => {
    const config = network("one", { ingressPolicy: "same-bridge" });
    const a = await add("a", config);
    const b = await add("b", network("two"));
    await add("c", config);
    expect(await reaches("b", a)).toBe(false);
    expect(await reaches("a", b)).toBe(true);
    expect(await reaches("c", a)).toBe(true);
    expect(await reaches(undefined, a)).toBe(true);
  });
});

/** br_netfilter: whether rules for IP see what a bridge passes on. Both are found in the wild. */
async function rulesSeeBridged(value: 0 | 1): Promise<void> {
  const files = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];
  const assignments = files.map((file) => `net.bridge.${file}=${value}`);
  await world.run("sysctl", "-qw", ...assignments);
}

const portMappings = [{ hostPort: 8080, containerPort: 9, protocol: "tcp" }];

describe.skipIf(!hasNat).each([0, 1] as const)("where bridge-nf-call-iptables is %i", (bridged) => {
  let config: Json;
  beforeAll(async () => {
    config = network("one", { ingressPolicy: "same-namespace" });
    await rulesSeeBridged(bridged);
  });

  it("isolated: pods of one bridge don't meet, but by published ports", async () => {
    const isolated = network("one", { ingressPolicy: "isolated" });
    const a = await add("a", { ...isolated, runtimeConfig: { portMappings } });
    await add("c", isolated);
    expect(await reaches("c", a)).toBe(false);
    expect(await reaches("c", gateway)).toBe(true);
    expect(await reaches("c", gateway, 8080)).toBe(true);
    expect(await reaches(undefined, a)).toBe(true);
  });

  it("follows the setting when another program changes it", async () => {
    const isolated = network("one", { ingressPolicy: "isolated" });
    const a = await add("a", { ...isolated, runtimeConfig: { portMappings } });
    await add("c", isolated);
    await rulesSeeBridged(bridged === 0 ? 1 : 0);
    const found = async (): Promise<readonly boolean[]> =>
      Promise.all([reaches("c", gateway, 8080), reaches("c", a)]);
    await eventually(async () => expect(await found()).toEqual([true, false]), 15_000);
    await rulesSeeBridged(bridged);
  });
  const elements = async (): Promise<number> => {
    const table = await world.run("nft", "list", "table", "inet", "berth");
    return table.match(/comment "veth/g)?.length ?? 0;
  };

  it("same-namespace: lets pods of one namespace meet, and no others", async () => {
    const a = await add("a", config, "red");
    const b = await add("b", config, "red");
    const c = await add("c", config, "blue");
    expect(await reaches("b", a)).toBe(true);
    expect(await reaches("a", b)).toBe(true);
    expect(await reaches("c", a)).toBe(false);
    expect(await reaches("a", c)).toBe(false);
    for (const pod of ["a", "c"]) expect(await reaches(pod, gateway)).toBe(true);
    for (const pod of [a, c]) expect(await reaches(undefined, pod)).toBe(true);
  });

  it("across bridges too, and keeps out whom nobody has given a namespace", async () => {
    const a = await add("a", config, "red");
    const b = await add("b", network("two", { ingressPolicy: "same-namespace" }), "red");
    expect(await reaches("b", a)).toBe(true);
    expect(await reaches("a", b)).toBe(true);
    await add("c", config);
    expect(await reaches("c", a)).toBe(false);
    expect(await reaches("c", gateway)).toBe(true);
  });

  it("leaves the way out and published ports open to all", async () => {
    await world.addOutside();
    const a = await add("a", { ...config, runtimeConfig: { portMappings } }, "red");
    await add("c", config, "blue");
    expect(await answers("c", "192.0.2.2", 9)).toBe(true);
    expect(await answers("a", "192.0.2.2", 9)).toBe(true);
    expect(await answers("c", a.four, 9)).toBe(false);
    expect(await reaches("c", gateway, 8080)).toBe(true);
    expect(await answers("outside", "192.0.2.1", 8080)).toBe(true);
    await world.deleteNetns("outside");
  });

  it("applies to services as well", async () => {
    const a = await add("a", config, "red");
    await add("b", config, "red");
    await add("c", config, "blue");
    await world.run(
      "iptables",
      "-t",
      "nat",
      "-A",
      "PREROUTING",
      "-d",
      "10.96.0.10",
      "-j",
      "DNAT",
      "--to",
      a.four,
    );
    expect(await answers("b", "10.96.0.10", 9)).toBe(true);
    expect(await answers("c", "10.96.0.10", 9)).toBe(false);
    await world.run("iptables", "-t", "nat", "-F");
  });

  it("costs two elements for an address, which go with the pod", async () => {
    await add("a", config, "red");
    const table = await world.run("nft", "list", "table", "inet", "berth");
    expect(await elements()).toBe(4);
    const b = await add("b", config, "red");
    expect(await elements()).toBe(8);
    const chains = (text: string): string => text.slice(text.indexOf("chain"));
    const more = await world.run("nft", "list", "table", "inet", "berth");
    expect(chains(more)).toBe(chains(table));
    await world.must({ command: "DEL", id: "a", config });
    expect(await elements()).toBe(4);
    // As another pod that has the address now: an earlier owner's word counts no more.
    await world.run("nft", "flush", "set", "inet", "berth", "namespaces4_pods");
    await world.must({ command: "DEL", id: "b", config });
    await add("c", { ...config, runtimeConfig: { ips: [b.four] } }, "blue");
    expect(await elements()).toBe(4);
    await world.must({ command: "DEL", id: "c", config });
    expect(await elements()).toBe(0);
  });
});

describe.skipIf(!hasNat)("forwardAccept", () => {
  it("lets pods through a FORWARD chain that began to drop after they came", async () => {
    const a = await add("a", network("one"));
    await add("b", network("two"));
    for (const iptables of ["iptables", "ip6tables"]) {
      await world.run(iptables, "-F", "FORWARD");
      await world.run(iptables, "-P", "FORWARD", "DROP");
    }
    await eventually(async () => expect(await reaches("b", a)).toBe(true), 15_000);
    for (const iptables of ["iptables", "ip6tables"]) {
      await world.run(iptables, "-F", "FORWARD");
      await world.run(iptables, "-P", "FORWARD", "ACCEPT");
    }
  });

  it("lets pods through a FORWARD chain of iptables that drops, once per bridge", async () => {
    for (const iptables of ["iptables", "ip6tables"]) await world.run(iptables, "-P", "FORWARD", "DROP");
    const a = await add("a", network("one", { forwardAccept: false }));
    await add("b", network("two", { forwardAccept: false }));
    expect(await reaches("b", a)).toBe(false);
    await world.must({ command: "DEL", id: "a", config: network("one") });
    const again = await add("a", network("one"));
    await add("c", network("one"));
    expect(await reaches("b", again)).toBe(true);
    const rules = await world.run("iptables", "-S", "FORWARD");
    expect(rules.match(/brone/g)).toHaveLength(4);
    expect(rules).toContain('-A FORWARD -i brone -m comment --comment "berth: pods of brone" -j ACCEPT');
    for (const iptables of ["iptables", "ip6tables"]) await world.run(iptables, "-P", "FORWARD", "ACCEPT");
  });
});
