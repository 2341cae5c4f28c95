import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Outcome } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import { executable, World } from "./world.ts";

// The specification's own client. hack/setup builds it.
const cnitool = join(process.env.BERTH_CACHE ?? join(homedir(), ".cache/berth"), "bin/cnitool");

let world: World;

beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns("a");
  const directory = join(world.directory, "net.d");
  await mkdir(directory);
  const {
    cniVersion: _,
    name: __,
    ...plugin
  } = world.config({ capabilities: { portMappings: true, bandwidth: true } });
  for (const [name, cniVersion, more] of [
    ["new", "1.1.0", []],
    ["old", "0.4.0", [{ type: "tuning" }]],
  ] as const) {
    const list = { cniVersion, name, plugins: [plugin, ...more] };
    await writeFile(join(directory, `${name}.conflist`), JSON.stringify(list));
  }
});
afterAll(() => world.close());

function tool(verb: string, network: string, args: object = {}): Promise<Outcome> {
  return world.outcomeOf(
    "env",
    `NETCONFPATH=${join(world.directory, "net.d")}`,
    `CNI_PATH=${dirname(executable)}:/usr/lib/cni`,
    `BERTH_CNI_SOCKET=${world.socket}`,
    `CAP_ARGS=${JSON.stringify(args)}`,
    cnitool,
    verb,
    network,
    "/run/netns/a",
  );
}

describe.skipIf(!existsSync(cnitool) || !hasNat)("cnitool", () => {
  it.each(["new", "old"])("adds, checks and deletes with the %s list", async (network) => {
    const args = {
      portMappings: [{ hostPort: 8088, containerPort: 80, protocol: "tcp" }],
      bandwidth: { ingressRate: 8e6, ingressBurst: 8e6, egressRate: 8e6, egressBurst: 8e6 },
    };
    const added = await tool("add", network, args);
    expect(added).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(added.stdout)).toMatchObject({
      ips: [{ address: expect.stringMatching(/^10\.66\./) }],
    });
    expect(await world.hostPorts()).toHaveLength(1);
    expect(await tool("check", network, args)).toMatchObject({ code: 0 });
    expect(await tool("del", network, args)).toMatchObject({ code: 0 });
    expect(await world.leftovers(network)).toEqual([]);
    expect(await tool("del", network, args)).toMatchObject({ code: 0 });
  });

  // cnitool sends no list of valid attachments; then only what is proven dead goes.
  it("asks for the state, and collects what is dead", async () => {
    expect(await tool("status", "new")).toMatchObject({ code: 0 });
    await world.must({ command: "ADD", id: "lost", netns: "a", config: { ...world.config(), name: "new" } });
    expect(await world.leases("new")).toHaveLength(1);
    expect(await tool("gc", "new")).toMatchObject({ code: 0 });
    expect(await world.leases("new")).toHaveLength(1);
    await world.deleteNetns("a");
    await eventually(async () => expect(await world.links()).toEqual([]));
    expect(await tool("gc", "new")).toMatchObject({ code: 0 });
    expect(await world.leftovers("new")).toEqual([]);
  });
});
