import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CgroupDriver, NamespaceMode } from "../../proto/gen/api.ts";
import { run } from "../lib/command.ts";
import { CriClient } from "../lib/cri-client.ts";
import { eventually } from "../lib/eventually.ts";

const unit = "berthd.service";
const transient = "/run/systemd/transient";

/** hack/systemd makes it so. */
describe.skipIf(!existsSync("/run/systemd/system"))("the installed service", () => {
  let dir: string;
  let client: CriClient;

  beforeAll(async () => {
    dir = mkdtempSync("/tmp/berth-service-");
    mkdirSync(join(dir, "etc/systemd/system"), { recursive: true });
    const env = { ...process.env, DESTDIR: dir };
    await run(join(import.meta.dirname, "../../hack/install"), [], { env, timeout: 110_000 });
    // Files of an image of a machine: the service's paths start at its root.
    const text = readFileSync(join(dir, "etc/systemd/system", unit), "utf8");
    const options = ["socket=berth.sock", "root=lib", "state=run", "netns_dir=netns"].map((option) => {
      const [key, name] = option.split("=");
      return `${key} = "${dir}/${name}"\n`;
    });
    writeFileSync(join(dir, "berth.toml"), `${options.join("")}[cni]\nconf_dir = "${dir}/net.d"\n`);
    const here = text
      .replace(/^ExecStart=.*/m, (line) => `${line.replace("=", `=${dir}`)} --config ${dir}/berth.toml`)
      .replace(/^WatchdogSec=.*/m, "WatchdogSec=4")
      .replace("[Unit]", "[Unit]\nDefaultDependencies=no");
    mkdirSync(transient, { recursive: true });
    writeFileSync(join(transient, unit), here);
    await run("systemctl", ["daemon-reload"]);
  });

  afterAll(async () => {
    client?.close();
    await run("systemctl", ["stop", unit]);
    rmSync(join(transient, unit));
    rmSync(dir, { recursive: true, force: true });
  });

  const show = async (property: string) =>
    (await run("systemctl", ["show", unit, "-p", property, "--value"])).trim();

  it("starts, tells when it is ready, and serves", async () => {
    await run("systemctl", ["start", unit]);
    expect(await show("ActiveState")).toBe("active");
    client = new CriClient(join(dir, "berth.sock"));
    expect((await client.runtime.runtimeConfig({})).linux?.cgroupDriver).toBe(CgroupDriver.SYSTEMD);
  });

  it("is restarted under pods that go on", { timeout: 120_000 }, async () => {
    const config = {
      metadata: { name: "p", uid: "u", namespace: "n", attempt: 0 },
      linux: {
        securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } },
      },
    };
    const { podSandboxId } = await client.runtime.runPodSandbox({ config });
    const monitor = () =>
      readFileSync(`/sys/fs/cgroup/berth.slice/berth-${podSandboxId}.scope/monitor/cgroup.procs`, "utf8");
    const before = monitor();
    const pid = await show("MainPID");
    await run("systemctl", ["kill", "-s", "KILL", "--kill-whom=main", unit]);
    await eventually(async () => {
      expect(await show("ActiveState")).toBe("active");
      expect(await show("MainPID")).not.toBe(pid);
    }, 30_000);
    await run("systemctl", ["restart", unit]);
    expect(monitor()).toBe(before);
    // One that hangs is found by the watchdog.
    const hanging = await show("MainPID");
    process.kill(Number(hanging), "SIGSTOP");
    await eventually(async () => {
      expect(await show("MainPID")).not.toMatch(new RegExp(`^(0|${hanging})$`));
      expect(await show("ActiveState")).toBe("active");
    }, 40_000);
    expect(await show("Result")).toBe("success");
    expect(monitor()).toBe(before);
    client.close();
    client = new CriClient(join(dir, "berth.sock"));
    const { items } = await client.runtime.listPodSandbox({});
    expect(items.map(({ id }) => id)).toEqual([podSandboxId]);
    await client.runtime.removePodSandbox({ podSandboxId });
    await eventually(async () => expect(existsSync("/sys/fs/cgroup/berth.slice")).toBe(false), 15_000);
  });
});
