import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPlugin } from "../../cni-plugin/src/resident/plugin.ts";
import { Containerd } from "../bench/containerd.ts";
import { mirroredRegistries } from "../lib/berthd.ts";
import { outcomeOf, run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import { executable } from "./world.ts";

// Debian's containerd knows nothing of this plugin but its name and folder.

let directory = "";
let containerd: Containerd;
const plugin = createPlugin();

beforeAll(async () => {
  if (process.env.BERTH_TEST_CGROUP === undefined) {
    throw new Error("this test makes pods: run it by hack/test or inside hack/isolated");
  }
  directory = await mkdtemp("/tmp/berth-cni-containerd-");
  const ipam = {
    type: "berth",
    dataDir: join(directory, "networks"),
    ranges: [[{ subnet: "10.198.0.0/16" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const capabilities = {
    portMappings: true,
    bandwidth: true,
    dns: true,
    "io.kubernetes.cri.pod-annotations": true,
  };
  const network = {
    cniVersion: "1.0.0",
    name: "foreign",
    plugins: [
      {
        type: "berth",
        bridge: "brforeign",
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam,
        capabilities,
      },
    ],
  };
  // containerd starts its own loopback plugin as well, from the same folder.
  const bin = join(directory, "bin");
  await mkdir(bin);
  await run("ln", ["-s", executable, "/usr/lib/cni/loopback", bin]);
  containerd = await Containerd.start(mirroredRegistries, { conflist: JSON.stringify(network), binDir: bin });
  await plugin.serve("/run/berth/cni.sock");
}, 120_000);

afterAll(async () => {
  await containerd?.[Symbol.asyncDispose]();
  await plugin.close();
  await outcomeOf("ip", ["link", "delete", "brforeign"]);
  await rm("/run/berth", { recursive: true, force: true });
  await rm(directory, { recursive: true, force: true });
});

async function pod(name: string, hostPort: number): Promise<string> {
  const config = {
    metadata: { name, uid: name, namespace: "test", attempt: 0 },
    log_directory: directory,
    port_mappings: [{ protocol: 0, container_port: 80, host_port: hostPort }],
    linux: {},
  };
  const path = join(directory, `${name}.json`);
  await writeFile(path, JSON.stringify(config));
  return containerd.crictl.run("runp", path);
}

async function addressOf(id: string): Promise<string> {
  const { status } = (await containerd.crictl.json("inspectp", id)) as {
    readonly status: { readonly network: { readonly ip: string } };
  };
  return status.network.ip;
}

describe.skipIf(!hasNat).each(["a server", "no server"])("under containerd with %s", (how) => {
  it("pods get addresses and host ports, and give them back", async () => {
    if (how === "no server") await plugin.close();
    const one = await pod("one", 8101);
    const two = await pod("two", 8102);
    const addresses = [await addressOf(one), await addressOf(two)];
    expect(addresses[0]).toMatch(/^10\.198\.0\.\d+$/);
    expect(new Set(addresses).size).toBe(2);
    expect(await run("nft", ["list", "map", "inet", "berth", "hostports4"])).toContain(
      `tcp . 8101 comment "veth`,
    );
    await containerd.crictl.run("stopp", one, two);
    await containerd.crictl.run("rmp", one, two);
    expect(await run("nft", ["list", "map", "inet", "berth", "hostports4"])).not.toContain("8101");
    expect(await run("sh", ["-c", `ls ${directory}/networks/foreign | grep -c '^10' || true`])).toBe("0\n");
    await eventually(async () => {
      expect(await run("sh", ["-c", "ip -br link show type veth"])).toBe("");
    });
  }, 60_000);
});
