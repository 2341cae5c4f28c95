import { mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { podConfig } from "../lib/pod.ts";

// Plugins that know no GC must not lose an address when the server is killed in the middle of their ADD or DEL.

const bridge = "crashbr0";
let dir: string;
let server: Berthd;

beforeAll(async () => {
  dir = await mkdtemp("/tmp/berth-crash-");
  const ipam = {
    type: "host-local",
    dataDir: join(dir, "leases"),
    ranges: [[{ subnet: "10.183.0.0/24" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const plugins = [{ type: "bridge", bridge, isGateway: true, ipam }];
  const list = { cniVersion: "1.0.0", name: "crash", plugins };
  server = await Berthd.start({ cni: { "10-crash.conflist": JSON.stringify(list) } });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await run("ip", ["link", "delete", bridge]);
  await rm(dir, { recursive: true });
});

async function held(): Promise<string[]> {
  const leases = await readdir(join(dir, "leases/crash"));
  const links = (await run("ip", ["-o", "link", "show", "type", "veth"])).split("\n");
  const results = await readdir(join(server.dir, "cni/results"));
  return [...leases.filter((name) => /^\d/.test(name)), ...links.filter((line) => line !== ""), ...results];
}

it("frees everything after twenty kills at any moment", async () => {
  for (let round = 0; round < 20; round += 1) {
    // Of this server's connection: the next server has another.
    const { runtime } = server;
    const pods = Array.from({ length: 3 }, async () => {
      const { podSandboxId } = await runtime.runPodSandbox({ config: podConfig(server) });
      await runtime.removePodSandbox({ podSandboxId });
    });
    await new Promise((resolve) => setTimeout(resolve, 5 + round * 8));
    const settled = Promise.allSettled(pods);
    await server.restart("SIGKILL");
    await settled;
    await server.removePods();
  }
  await eventually(async () => expect(await held()).toEqual([]), 20_000);
});
