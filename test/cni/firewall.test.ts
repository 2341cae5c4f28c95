import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
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
    await world.must({ command: "DEL", id, config: network("one") });
    await world.must({ command: "DEL", id, config: network("two") });
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
      ranges: [[{ subnet: name === "one" ? "10.71.0.0/16" : "10.72.0.0/16" }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
    ...more,
  });
}

async function add(id: string, config: Json): Promise<string> {
  const added = await world.must({ command: "ADD", id, netns: id, config });
  const [ip] = added.ips as readonly { readonly address: string }[];
  return ip?.address.replace(/\/.*/, "") ?? "";
}

/** Whether a TCP connection is answered, be it by a refusal. */
async function reaches(from: string | undefined, address: string, port = 9): Promise<boolean> {
  const script = `
import socket, sys
s = socket.socket(); s.settimeout(0.7)
try: s.connect(("${address}", ${port}))
except ConnectionRefusedError: pass
except OSError: sys.exit(1)
`;
  const command = ["python3", "-c", script];
  const { code } = await (from === undefined ? world.outcomeOf(...command) : world.inPod(from, ...command));
  return code === 0;
}

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

  it("isolated: keeps pods of the same bridge out too", async () => {
    const config = network("one", { ingressPolicy: "isolated" });
    const a = await add("a", config);
    await add("c", config);
    expect(await reaches("c", a)).toBe(false);
    expect(await reaches("c", "10.71.0.1")).toBe(true);
    expect(await reaches(undefined, a)).toBe(true);
  });
});

describe.skipIf(!hasNat)("forwardAccept", () => {
  it("lets pods through a FORWARD chain of iptables that drops, once per bridge", async () => {
    await world.run("iptables", "-P", "FORWARD", "DROP");
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
    await world.run("iptables", "-P", "FORWARD", "ACCEPT");
  });
});
