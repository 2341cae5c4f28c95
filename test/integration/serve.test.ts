import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { outcomeOf, run } from "../lib/command.ts";
import { pull, TestPod } from "../lib/pod.ts";

const berthd = join(import.meta.dirname, "../../dist/berthd");

describe("hack/serve", () => {
  it("runs side by side with another, each on a subnet of its own and everything under its folder", async () => {
    await using one = await Berthd.start();
    await using other = await Berthd.start();
    await pull(one);
    await pull(other);
    const podOfOne = await TestPod.run(one);
    await using podOfOther = await TestPod.run(other);
    const subnet = (ip: string): string => ip.split(".").slice(0, 3).join(".");
    expect(subnet(await podOfOne.ip())).not.toBe(subnet(await podOfOther.ip()));
    expect((await one.runtime.listPodSandbox()).items.map(({ id }) => id)).toEqual([podOfOne.id]);
    // The plugin's locks are the kernel's business, not a server's: both use the same.
    expect(readdirSync("/run/berth")).toEqual(["cni"]);
    // One that ends takes nothing from the other.
    await podOfOne.remove();
    await one.stop();
    const container = await podOfOther.start();
    expect(await container.sh("ip route | grep -c ^default")).toBe("1");
  });

  it("keeps a conflist that is there, and reads berth.toml", async () => {
    const own = JSON.stringify({
      cniVersion: "1.0.0",
      name: "own",
      plugins: [
        {
          type: "berth",
          bridge: "owned0",
          isGateway: true,
          ipam: { type: "host-local", dataDir: "/tmp/owned", ranges: [[{ subnet: "10.77.5.0/24" }]] },
        },
      ],
    });
    await using server = await Berthd.start({
      cni: { "05-own.conflist": own },
      config: "[runtime]\nshm_bytes = 1048576\n",
    });
    await pull(server);
    await using pod = await TestPod.run(server);
    expect(await pod.ip()).toMatch(/^10\.77\.5\./);
    const container = await pod.start();
    expect(await container.sh("df -k /dev/shm | tail -1 | awk '{ print $2 }'")).toBe("1024");
    await run("rm", ["-rf", "/tmp/owned"]);
  });
});

describe("berthd", () => {
  it("explains itself, and what this machine lacks", async () => {
    const help = await run(berthd, ["--help"]);
    for (const word of ["--socket", "--root", "--cgroup-driver", "berthd check"])
      expect(help).toContain(word);
    const check = await outcomeOf(berthd, ["check"]);
    expect(check.stdout).toMatch(/cgroup/);
    expect(check.stdout).toMatch(/CNI configuration/);
  });

  it("refuses a flag, a key and a value that it does not know, and says which", async () => {
    expect(await outcomeOf(berthd, ["--no-such", "x"])).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("--no-such"),
    });
    expect(await outcomeOf(berthd, ["--log-level", "loud"])).toMatchObject({
      stderr: expect.stringContaining("loud"),
    });
    expect(await outcomeOf(berthd, ["--config", "/no/file.toml"])).toMatchObject({
      stderr: expect.stringContaining("/no/file.toml"),
    });
  });

  it("does not take over a socket on which another one serves", async () => {
    await using server = await Berthd.start();
    const second = await outcomeOf(join(import.meta.dirname, "../../hack/serve"), [server.dir], {
      env: { ...process.env, BERTH_NO_BUILD: "1" },
      timeout: 20_000,
    });
    expect(second.code).not.toBe(0);
    expect((await server.runtime.version()).runtimeName).toBe("berth");
    expect(await readFile(server.logPath, "utf8")).not.toContain('"level":60');
  });
});

describe("stock crictl", () => {
  it("drives a pod from pull to removal", async () => {
    await using server = await Berthd.start();
    await pull(server);
    await using pod = await TestPod.run(server, { hostname: "through-crictl" });
    const container = await pod.script("echo hello; exec sleep 1000");
    const { crictl } = server;
    expect(await crictl.run("pods", "-q")).toBe(pod.id);
    expect(await crictl.run("ps", "-q")).toBe(container.id);
    expect(await crictl.run("exec", "--sync", container.id, "hostname")).toBe("through-crictl");
    expect(await crictl.run("logs", container.id)).toBe("hello");
    expect(await crictl.json("info")).toMatchObject({ status: { conditions: expect.any(Array) } });
    expect(await crictl.json("inspect", container.id)).toMatchObject({ status: { id: container.id } });
    expect(await crictl.json("stats")).toMatchObject({ stats: [{ attributes: { id: container.id } }] });
    expect(await crictl.run("images", "-q")).toMatch(/^sha256:[0-9a-f]{64}$/);
    await crictl.run("rmp", "--force", pod.id);
    expect(await crictl.run("pods", "-q")).toBe("");
  });
});
