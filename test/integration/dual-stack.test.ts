import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Protocol } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { nginx, pull, TestPod } from "../lib/pod.ts";

// Pods with an address of each family, by our own plugin.

const bridge = "berthdual0";
const list = {
  cniVersion: "1.1.0",
  name: "dual",
  plugins: [
    {
      type: "berth",
      bridge,
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      capabilities: { portMappings: true },
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.184.0.0/24" }], [{ subnet: "fd00:184::/64" }]],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    },
  ],
};

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start({ cni: { "10-dual.conflist": JSON.stringify(list) } });
  await pull(server);
  await pull(server, nginx);
  await using _first = await TestPod.run(server);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await run("ip", ["link", "delete", bridge]);
});

describe("a dual-stack pod", () => {
  it("has its IPv4 address first, and both in its status and in its interface", async () => {
    await using pod = await TestPod.run(server);
    const { network } = await pod.status();
    const addresses = [network?.ip, ...(network?.additionalIps.map(({ ip }) => ip) ?? [])];
    expect(addresses).toEqual([
      expect.stringMatching(/^10\.184\.0\.\d+$/),
      expect.stringMatching(/^fd00:184::[0-9a-f]+$/),
    ]);
    const shell = await pod.start();
    const shown = await shell.sh("ip addr show eth0");
    for (const address of addresses) expect(shown).toContain(`${address}/`);
    // Usable at once: no duplicate address detection holds it back.
    expect(shown).not.toContain("tentative");
  });

  it("is reached over both families, and by its host port", async () => {
    const before = await footprint(server);
    const pod = await TestPod.run(server, {
      portMappings: [{ protocol: Protocol.TCP, containerPort: 80, hostPort: 12184 }],
    });
    await pod.start({ image: { image: nginx }, command: ["nginx", "-g", "daemon off;"] });
    const { network } = await pod.status();
    const fetched = async (host: string) =>
      (await fetch(`http://${host}/`, { signal: AbortSignal.timeout(2000) })).status;
    expect(await eventually(() => fetched(network?.ip ?? ""))).toBe(200);
    expect(await eventually(() => fetched("127.0.0.1:12184"))).toBe(200);
    await using other = await TestPod.run(server);
    const shell = await other.start();
    const six = network?.additionalIps[0]?.ip ?? "";
    expect(await shell.sh(`ping -6 -c 1 -W 2 ${six} | grep -c ' 0% packet loss'`)).toBe("1");
    await pod.remove();
    await other.remove();
    await expectNothingLeft(server, before, 10_000);
  });
});
