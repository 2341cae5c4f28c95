import { once } from "node:events";
import { readdir, readFile, rename } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Protocol } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { hasNat } from "../lib/kernel.ts";
import { nginx, pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  await pull(server, nginx);
  await using _first = await TestPod.run(server);
});

afterAll(() => server[Symbol.asyncDispose]());

async function webPod(hostPort?: number): Promise<TestPod> {
  const portMappings =
    hostPort === undefined ? [] : [{ protocol: Protocol.TCP, containerPort: 80, hostPort }];
  const pod = await TestPod.run(server, { portMappings });
  await pod.start({ image: { image: nginx }, command: [] });
  const ip = await pod.ip();
  await eventually(() => fetch(`http://${ip}/`));
  return pod;
}

describe("traffic", () => {
  it("goes from pod to pod and from host to pod", async () => {
    await using web = await webPod();
    await using client = await TestPod.run(server);
    const shell = await client.start();
    const ip = await web.ip();
    expect((await fetch(`http://${ip}/`)).status).toBe(200);
    expect(await shell.sh(`timeout 5 wget -q -O- http://${ip}/ | wc -c`)).not.toBe("0");
    expect(await client.ip()).not.toBe(ip);
  });

  it("goes from pod to host", async () => {
    const listener = createServer((request, response) =>
      response.end(`you are ${request.socket.remoteAddress}`),
    );
    listener.listen(0, "0.0.0.0");
    await once(listener, "listening");
    try {
      await using pod = await TestPod.run(server);
      const shell = await pod.start();
      const address = listener.address();
      if (address === null || typeof address === "string") throw new Error("no port");
      const gateway = await shell.sh("ip route | awk '/^default/ { print $3 }'");
      expect(await shell.sh(`timeout 5 wget -q -O- http://${gateway}:${address.port}/`)).toContain(
        await pod.ip(),
      );
    } finally {
      listener.close();
    }
  });

  it.skipIf(!hasNat)(
    "reaches a host port from the host, from another pod and from the pod itself",
    async () => {
      await using _web = await webPod(12080);
      await using client = await TestPod.run(server);
      const shell = await client.start();
      const gateway = await shell.sh("ip route | awk '/^default/ { print $3 }'");
      for (const host of ["127.0.0.1", gateway]) {
        const response = await eventually(() =>
          fetch(`http://${host}:12080/`, { signal: AbortSignal.timeout(2000) }),
        );
        expect(response.status, host).toBe(200);
      }
      expect(await shell.sh(`timeout 5 wget -q -O- http://${gateway}:12080/ | wc -c`)).not.toBe("0");
    },
  );

  it.skipIf(!hasNat)("frees a host port with its pod", async () => {
    await (await webPod(12081)).remove();
    await expect(fetch("http://127.0.0.1:12081/", { signal: AbortSignal.timeout(2000) })).rejects.toThrow();
    await using again = await webPod(12081);
    expect((await fetch("http://127.0.0.1:12081/")).status).toBe(200);
    expect(await again.ip()).not.toBe("");
  });

  it("leaves loopback up and gives the pod one address", async () => {
    await using pod = await TestPod.run(server);
    const shell = await pod.start();
    const addresses = await shell.sh("ip -o -4 addr");
    expect(addresses).toContain("127.0.0.1/8");
    expect(addresses).toContain(`${await pod.ip()}/`);
  });
});

describe("attachments", () => {
  it("leaves nothing of twenty pods at once", async () => {
    const before = await footprint(server);
    const pods = await Promise.all(Array.from({ length: 20 }, () => TestPod.run(server)));
    const ips = await Promise.all(pods.map((pod) => pod.ip()));
    expect(new Set(ips).size).toBe(20);
    await Promise.all(pods.map((pod) => pod.remove()));
    await expectNothingLeft(server, before, 10_000);
  });

  it("removes a pod whose link is gone already", async () => {
    const before = await footprint(server);
    const pod = await TestPod.run(server);
    const added = [...(await footprint(server))].filter(
      (thing) => thing.startsWith("link ") && !before.has(thing),
    );
    expect(added).toHaveLength(1);
    await run("ip", ["link", "delete", added[0]?.slice("link ".length) ?? ""]);
    await pod.remove();
    await expectNothingLeft(server, before);
  });
});

describe("NetworkReady", () => {
  async function condition() {
    const { status } = await server.runtime.status();
    return status?.conditions.find(({ type }) => type === "NetworkReady");
  }

  it("follows the configuration folder", async () => {
    const folder = join(server.dir, "cni.d");
    const [name = ""] = await readdir(folder);
    expect((await condition())?.status).toBe(true);
    expect(await readFile(join(folder, name), "utf8")).toContain("berth");
    await rename(join(folder, name), join(server.dir, "away.conflist"));
    try {
      await eventually(async () => expect((await condition())?.status).toBe(false));
      expect((await condition())?.message).toContain(folder);
      await expect(TestPod.run(server)).rejects.toThrow(/network/i);
    } finally {
      await rename(join(server.dir, "away.conflist"), join(folder, name));
    }
    await eventually(async () => expect((await condition())?.status).toBe(true));
    await using _pod = await TestPod.run(server);
  });
});
