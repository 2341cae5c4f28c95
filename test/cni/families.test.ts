import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../lib/eventually.ts";
import { hasNat } from "../lib/kernel.ts";
import type { Json } from "./world.ts";
import { World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await World.create();
  await world.startServer();
  await world.addNetns("a", "b");
});
afterAll(() => world.close());
afterEach(async () => {
  for (const id of ["a", "b"]) await world.must({ command: "DEL", id, netns: id, config: dual() });
  expect(await world.leftovers()).toEqual([]);
});

function dual(more: Json = {}): Json {
  return world.config({
    ipam: {
      type: "berth",
      dataDir: world.dataDir,
      ranges: [[{ subnet: "10.66.0.0/16" }], [{ subnet: "fd66::/64" }]],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
    ...more,
  });
}

async function fetches(url: string, from?: string): Promise<boolean> {
  const command = ["curl", "-gsS", "-o", "/dev/null", "-m", "2", url];
  const { code } = await (from === undefined ? world.outcomeOf(...command) : world.inPod(from, ...command));
  return code === 0;
}

/** The pod's address of the family, as ADD's result has it. */
function addressOf(added: Json, family: 4 | 6): string {
  const ips = added.ips as readonly { readonly address: string }[];
  const found = ips.find((ip) => ip.address.includes(":") === (family === 6));
  if (found === undefined) throw new Error(`no IPv${family} address in ${JSON.stringify(added)}`);
  return found.address.replace(/\/.*/, "");
}

const python = (netns: string, script: string) =>
  world.start("ip", "netns", "exec", netns, "python3", "-u", "-c", script);

describe("dual stack", () => {
  it("carries IPv6 at once, without duplicate detection", async () => {
    const added = await world.must({ command: "ADD", id: "a", netns: "a", config: dual() });
    expect(added.ips).toEqual([
      { interface: 2, address: "10.66.0.2/16", gateway: "10.66.0.1" },
      { interface: 2, address: "fd66::2/64", gateway: "fd66::1" },
    ]);
    const { stdout } = await world.inPod("a", "ip", "-6", "addr", "show", "eth0");
    expect(stdout).toContain("fd66::2/64 scope global nodad");
    expect(stdout).toContain("fe80::858:aff:fe42:2/64 scope link nodad");
    expect(stdout).not.toContain("tentative");
    const routes = await world.inPod("a", "ip", "-6", "route");
    expect(routes.stdout).toContain("default via fd66::1 dev eth0");
    await world.must({
      command: "CHECK",
      id: "a",
      netns: "a",
      config: { ...dual(), prevResult: added },
    });
  });

  it("is reached from another machine before it has said anything itself", async () => {
    await world.addOutside();
    const added = await world.must({ command: "ADD", id: "a", netns: "a", config: dual() });
    for (const family of [4, 6] as const) {
      const address = addressOf(added, family);
      const url = `http://${family === 6 ? `[${address}]` : address}:9/`;
      const { stderr } = await world.inPod("outside", "curl", "-gsS", "-m", "2", url);
      expect(stderr).toContain(`Failed to connect to ${address}`);
      expect(stderr).not.toContain("timed out");
    }
    await world.deleteNetns("outside");
  });

  it.skipIf(!hasNat)("has host ports in both families", async () => {
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] };
    const added = await world.must({ command: "ADD", id: "a", netns: "a", config: dual({ runtimeConfig }) });
    await world.must({ command: "ADD", id: "b", netns: "b", config: dual() });
    expect(await world.hostPorts()).toHaveLength(2);
    world.start(
      "ip",
      "netns",
      "exec",
      "a",
      "python3",
      "-m",
      "http.server",
      "80",
      "-b",
      "::",
      "-d",
      "/usr/share/doc",
    );
    await eventually(async () => expect(await fetches(`http://[${addressOf(added, 6)}]/`)).toBe(true));
    expect(await fetches("http://[fd66::1]:8080/")).toBe(true);
    expect(await fetches("http://[fd66::1]:8080/", "b")).toBe(true);
    expect(await fetches("http://[fd66::1]:8080/", "a")).toBe(true);
    expect(await fetches("http://10.66.0.1:8080/", "b")).toBe(true);
    await world.must({ command: "DEL", id: "a", netns: "a", config: dual({ runtimeConfig }) });
    expect(await world.hostPorts()).toHaveLength(0);
  });

  it("works with IPv6 alone", async () => {
    const ipam = {
      type: "host-local",
      dataDir: world.dataDir,
      subnet: "fd67::/120",
      routes: [{ dst: "::/0" }],
    };
    const config = dual({ ipam, bridge: "br6" });
    const added = await world.must({ command: "ADD", id: "a", netns: "a", config });
    expect(added.ips).toMatchObject([{ address: "fd67::2/120", gateway: "fd67::1" }]);
    await world.must({ command: "ADD", id: "b", netns: "b", config });
    await world.must({ command: "DEL", id: "b", netns: "b", config });
    await world.must({ command: "DEL", id: "a", netns: "a", config });
  });
});

describe.skipIf(!hasNat)("UDP host ports", () => {
  const sender = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 5555)); s.settimeout(1)
s.sendto(b"x", (sys.argv[1], 5353))
print(s.recv(100).decode())
`;
  const echo = (name: string) => `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 53)); print("up")
while True:
    _, peer = s.recvfrom(100); s.sendto(b"${name}", peer)
`;

  it("lead to the new pod for a client that goes on sending from one port", async () => {
    const runtimeConfig = { portMappings: [{ hostPort: 5353, containerPort: 53, protocol: "udp" }] };
    const ask = async (): Promise<string> => {
      const { stdout } = await world.outcomeOf("python3", "-c", sender, "10.66.0.1");
      return stdout.trim();
    };
    await world.must({ command: "ADD", id: "b", netns: "b", config: dual() });
    expect(await ask()).toBe("");
    await world.must({ command: "ADD", id: "a", netns: "a", config: dual({ runtimeConfig }) });
    python("a", echo("first"));
    await eventually(async () => expect(await ask()).toBe("first"));
    await world.must({ command: "DEL", id: "a", netns: "a", config: dual({ runtimeConfig }) });
    await world.must({ command: "DEL", id: "b", netns: "b", config: dual() });
    python("b", echo("second"));
    await world.must({ command: "ADD", id: "b", netns: "b", config: dual({ runtimeConfig }) });
    await eventually(async () => expect(await ask()).toBe("second"));
  });
});

describe("bandwidth", () => {
  it("limits both directions, whatever burst the runtime sends", async () => {
    const runtimeConfig = {
      bandwidth: { ingressRate: 8e6, ingressBurst: 4294967295, egressRate: 16e6, egressBurst: 4294967295 },
    };
    const a = await world.must({ command: "ADD", id: "a", netns: "a", config: dual({ runtimeConfig }) });
    const b = await world.must({ command: "ADD", id: "b", netns: "b", config: dual() });
    const receive = `
import socket, time
l = socket.create_server(("0.0.0.0", 7000)); l.settimeout(30); c, _ = l.accept()
n = 0; t = time.time()
while time.time() - t < 1.5:
    n += len(c.recv(1 << 16))
print(n / (time.time() - t) * 8 / 1e6)
`;
    const send = (to: string) => `
import socket, time
for _ in range(1500):
    try: s = socket.create_connection(("${to}", 7000)); break
    except OSError: time.sleep(0.02)
try:
    while True: s.send(b"x" * 65536)
except OSError: pass
`;
    const megabits = async (from: string, to: string, address: string): Promise<number> => {
      const receiver = world.inPod(to, "python3", "-c", receive);
      await world.inPod(from, "timeout", "40", "python3", "-c", send(address));
      return Number((await receiver).stdout);
    };
    const received = await megabits("b", "a", addressOf(a, 4));
    const sent = await megabits("a", "b", addressOf(b, 4));
    console.log(`bandwidth: 8 Mbit/s in: ${received.toFixed(1)}, 16 Mbit/s out: ${sent.toFixed(1)}`);
    expect(received).toBeGreaterThan(6);
    expect(received).toBeLessThan(9.5);
    expect(sent).toBeGreaterThan(12);
    expect(sent).toBeLessThan(18.5);
    await world.deleteNetns("a");
    await world.must({ command: "DEL", id: "a", config: dual() });
    await world.addNetns("a");
  });
});
