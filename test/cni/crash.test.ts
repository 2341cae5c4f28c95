import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import type { Json } from "./world.ts";
import { World } from "./world.ts";

// BERTH_CNI_CRASHES=1000 for the long run.
const rounds = Number(process.env.BERTH_CNI_CRASHES ?? "120");
const parallel = 16;
const patienceMs = 120_000 + rounds * 1500;

let world: World;

beforeAll(async () => {
  world = await World.create();
});
afterAll(() => world.close());

function config(index: number, more: Json = {}): Json {
  return world.config({
    runtimeConfig: {
      portMappings: [{ hostPort: 20000 + (index % 20000), containerPort: 80, protocol: "tcp" }],
    },
    ...more,
  });
}

function addressOf(added: Json): string {
  const ips = added.ips as readonly { readonly address: string }[];
  return ips[0]?.address.replace(/\/.*/, "") ?? "";
}

const random = (most: number): number => Math.floor(Math.random() * most);

describe.skipIf(!hasNat)("kill -9 of server and launcher at any moment", () => {
  const alive = new Map<string, string>();
  let killing = true;
  let kills = 0;

  async function killServers(): Promise<void> {
    while (killing) {
      await world.startServer();
      await sleep(30 + random(250));
      await world.stopServer("SIGKILL");
      kills += 1;
    }
  }

  /** One pod's life: ADD, perhaps killed; then DEL, or its namespace just goes, or it stays. */
  async function onePod(index: number, slot: string): Promise<void> {
    const id = `pod${index}`;
    const impatient = random(3) === 0 ? { killAfterMs: random(8) } : {};
    const outcome = await world.call({
      command: "ADD",
      id,
      netns: slot,
      config: config(index),
      ...impatient,
    });
    if (outcome.code === 0 && outcome.stdout !== "") {
      const address = addressOf(outcome.json);
      for (const [other, taken] of alive) {
        if (taken === address) throw new Error(`${address} was given to ${id} while ${other} has it`);
      }
      alive.set(id, address);
      if (random(8) === 0) return;
    }
    if (random(3) > 0) {
      const deletion = { command: "DEL", id, netns: slot, config: config(index) };
      const killed = await world.call({
        ...deletion,
        ...(random(4) === 0 ? { killAfterMs: random(6) } : {}),
      });
      alive.delete(id);
      if (killed.code !== 0) await world.call(deletion);
    }
    alive.delete(id);
    await world.outcomeOf("ip", "netns", "delete", slot);
    await world.addNetns(slot);
  }

  // No second try: the pods of the first are still there, and what chance finds once has to be seen.
  it(`leaves nothing behind ${rounds} pods that GC can't free, and gives no address twice`, {
    timeout: patienceMs,
    retry: 0,
  }, async () => {
    const killer = killServers();
    let next = 0;
    await Promise.all(
      Array.from({ length: parallel }, async (_, worker) => {
        for (let index = next++; index < rounds; index = next++) {
          const slot = `slot${worker}x${index}`;
          await world.addNetns(slot);
          await onePod(index, slot);
        }
      }),
    );
    killing = false;
    await killer;
    await world.startServer();
    const valid = [...alive.keys()].map((containerID) => ({ containerID, ifname: "eth0" }));
    await world.must({ command: "GC", config: { ...config(0), "cni.dev/valid-attachments": valid } });
    expect((await world.leases()).toSorted()).toEqual([...alive.values()].toSorted());
    expect(await world.hostPorts()).toHaveLength(alive.size);
    await eventually(async () => expect(await world.links()).toHaveLength(alive.size));
    console.log(`crash: ${rounds} pods, ${kills} kills of the server, ${alive.size} pods alive at the end`);
    await world.must({ command: "GC", config: { ...config(0), "cni.dev/valid-attachments": [] } });
    expect(await world.leftovers()).toEqual([]);
  });
});

describe.skipIf(!hasNat)("the lease store", () => {
  it("is cleaned of what a power cut leaves", async () => {
    const directory = join(world.dataDir, "testnet");
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "10.66.0.200"), "");
    await writeFile(join(directory, "10.66.0.201"), "\0\0\0\0");
    await world.must({ command: "GC", config: config(0) });
    expect(await world.leases()).toEqual([]);
  });

  it("is emptied by the server itself after a reboot", async () => {
    await world.addNetns("old");
    await world.must({ command: "ADD", id: "old", netns: "old", config: config(1) });
    await world.stopServer("SIGKILL");
    await world.deleteNetns("old");
    await world.run("nft", "delete", "table", "inet", "berth");
    const boot = join(world.directory, "boot_id");
    await writeFile(boot, "11111111-2222-3333-4444-555555555555\n");
    await world.run("mount", "--bind", boot, "/proc/sys/kernel/random/boot_id");
    await world.startServer();
    await world.addNetns("new");
    const added = await world.must({ command: "ADD", id: "new", netns: "new", config: config(2) });
    await eventually(async () => expect(await world.leases()).toEqual([addressOf(added)]));
    await world.must({ command: "DEL", id: "new", netns: "new", config: config(2) });
    expect(await world.leftovers()).toEqual([]);
  });
});
