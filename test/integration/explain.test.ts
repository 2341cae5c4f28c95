import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ContainerExplanation, Explanation } from "../../cri-server/src/model/explanation.ts";
import { NamespaceMode, SecurityProfile_ProfileType } from "../../proto/gen/api.ts";
import { berth } from "../lib/berth.ts";
import { Berthd } from "../lib/berthd.ts";
import { hasController } from "../lib/cgroup.ts";
import { eventually } from "../lib/eventually.ts";
import { cgroupVersion, hasNat } from "../lib/kernel.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";

let server: Berthd;
beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** What `--json` says, and the exit code. */
async function explain(subject: string): Promise<Explanation & { readonly code: number }> {
  const { code, stdout, stderr } = await berth(server, "explain", "--json", subject);
  if (stdout === "") throw new Error(`berth explain ${subject} ended with ${code}: ${stderr}`);
  return { code: code ?? -1, ...(JSON.parse(stdout) as Explanation) };
}

async function explainOne(
  container: TestContainer,
): Promise<ContainerExplanation & { readonly code: number }> {
  const { containers, code } = await explain(container.id);
  const [one] = containers;
  if (one === undefined) throw new Error(`${container.id} has no page`);
  return { ...one, code };
}

function inode(pid: number, kind: string): string {
  return /\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/${kind}`))?.[1] ?? "";
}

const memory = cgroupVersion === 1 ? "memory.limit_in_bytes" : "memory.max";
const seccomp = { profileType: SecurityProfile_ProfileType.RuntimeDefault };

describe("berth explain of a pod", () => {
  it("shows what the kernel has of a healthy one", async () => {
    await using pod = await TestPod.run(server, {
      portMappings: hasNat ? [{ protocol: 0, containerPort: 80, hostPort: 18080, hostIp: "" }] : [],
    });
    const first = await pod.start();
    const second = await pod.script("exit 3");
    await second.exited();
    const { subject, pod: page, containers, code } = await explain(pod.id.slice(0, 8));
    expect({ subject, code, problems: page.problems }).toEqual({ subject: "pod", code: 0, problems: [] });
    expect(page).toMatchObject({ id: pod.id, namespace: "test", attempt: 0, state: "ready", pending: [] });
    expect(Object.keys(page.steps ?? {})).toEqual(["prepare", "monitor", "network", "record"]);
    expect(page.milestones.map(({ what }) => what)).toEqual([
      "the pod was asked for",
      "container-1: create was asked for",
      "container-1: started",
      "container-2: create was asked for",
      "container-2: ended with exit code 3: Error",
    ]);
    expect(page.monitor).toMatchObject({ alive: true, connected: true });
    expect(page.monitor?.knows).toEqual({ [first.id]: "running", [second.id]: "exited" });
    const pid = containers.find(({ id }) => id === first.id)?.process?.pid ?? 0;
    for (const { kind, inode: shown, whose, sharedBy } of page.namespaces) {
      expect({ kind, shown, whose, sharedBy }).toEqual({
        kind,
        shown: inode(pid, kind),
        whose: "the pod's",
        sharedBy: ["container-1"],
      });
    }
    expect(page.namespaces.map(({ kind }) => kind)).toEqual(["net", "ipc", "uts"]);
    const ip = await pod.ip();
    expect(page.network?.ips).toEqual([ip]);
    const eth0 = page.network?.interfaces.find(({ name }) => name === "eth0");
    expect(eth0?.addresses).toContain(`${ip}/24`);
    expect(eth0).toMatchObject({ up: true, kind: "veth", hostLink: expect.stringMatching(/^veth/) });
    expect(page.network?.routes).toContainEqual(expect.stringMatching(/^default via .* dev eth0$/));
    expect(page.network?.attachments).toMatchObject([{ ifName: "eth0", chain: ["berth"], complete: true }]);
    expect(page.network?.hostPorts).toEqual(hasNat ? [`tcp 18080 -> ${ip}:80`] : []);
    const text = (await berth(server, "explain", pod.config.metadata?.name ?? "")).stdout;
    for (const words of [`pod test/${pod.config.metadata?.name}`, ip, "exit code 3, Error", "answered in"]) {
      expect(text).toContain(words);
    }
  });

  it("knows a pod on the host's network, and one with an init of its own", async () => {
    await using onHost = await TestPod.run(server, {
      linux: { securityContext: { namespaceOptions: { network: 2 } } },
    });
    const host = await explain(onHost.id);
    expect(host.pod.network).toBeUndefined();
    expect({ code: host.code, kinds: host.pod.namespaces.map(({ kind }) => kind) }).toEqual({
      code: 0,
      kinds: ["ipc"],
    });
    await using shared = await TestPod.run(server, {
      linux: { securityContext: { namespaceOptions: { pid: 0 } } },
    });
    const [a, b] = [await shared.start(shares), await shared.start(shares)];
    const { containers, pod } = await explain(shared.id);
    const pids = containers.map(({ process }) => process?.pid ?? 0);
    expect(new Set(pids.map((pid) => inode(pid, "pid"))).size).toBe(1);
    expect(pod.namespaces.find(({ kind }) => kind === "pid")).toMatchObject({
      whose: "the pod's",
      inode: inode(pids[0] ?? 0, "pid"),
      sharedBy: ["container-1", "container-2"],
    });
    expect(containers.map(({ id }) => id)).toEqual([a.id, b.id]);
  });

  it("shows a stopped monitor, and one that is gone", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const { pod: healthy } = await explain(pod.id);
    const pid = healthy.monitor?.pid ?? 0;
    process.kill(pid, "SIGSTOP");
    try {
      const { code, pod: page } = await explain(pod.id);
      expect(code).toBe(2);
      expect(page.monitor).not.toHaveProperty("answeredMs");
      expect(page.problems).toEqual([`its monitor (pid ${pid}) does not answer within 2 s`]);
      expect((await berth(server, "explain", pod.id)).stdout).toContain("does not answer");
    } finally {
      process.kill(pid, "SIGKILL");
    }
    await container.exited();
    const { containers, pod: lost } = await explain(pod.id);
    expect(lost).toMatchObject({ state: "notready", reason: "MonitorLost" });
    expect(containers[0]?.exit).toMatchObject({ code: 137, reason: "MonitorLost" });
  });

  it("shows what is tried again", async () => {
    await using pod = await TestPod.run(server);
    await server.stop();
    await server.again({ env: { BERTH_FAILPOINTS: "sandbox.stop.detach=error" } });
    try {
      await pod.stop();
      const { code, pod: page } = await eventually(async () => {
        const explained = await explain(pod.id);
        expect(explained.pod.pending).toMatchObject([
          { key: `stop ${pod.id}`, error: "failpoint sandbox.stop.detach" },
        ]);
        return explained;
      }, 20_000);
      expect({ code, state: page.state }).toEqual({ code: 2, state: "stopping" });
      expect(page.problems[0]).toMatch(/^"stop" has failed \d+ times: failpoint sandbox.stop.detach$/);
      // Made by the server before: nobody knows how long that took.
      expect(page).not.toHaveProperty("steps");
    } finally {
      await server.stop();
      await server.again({});
    }
  });
});

/** In the pod's own PID namespace. */
const shares = { linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } } };

describe("berth explain of a container", () => {
  it("shows what is in force", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start({
      linux: {
        resources: { memoryLimitInBytes: 64n << 20n },
        securityContext: {
          seccomp,
          noNewPrivs: true,
          capabilities: { addCapabilities: ["NET_ADMIN"], dropCapabilities: ["ALL"] },
          namespaceOptions: { pid: 1 },
        },
      },
    });
    const page = await explainOne(container);
    const pid = page.process?.pid ?? 0;
    expect(page).toMatchObject({ id: container.id, state: "running", problems: [], pending: [], code: 0 });
    expect(Object.keys(page.steps ?? {})).toEqual(["lease", "plan", "intent", "launch", "start"]);
    expect(page.process).toMatchObject({
      command: "/bin/sleep 86400",
      uid: 0,
      capabilities: ["CAP_NET_ADMIN"],
      bounding: ["CAP_NET_ADMIN"],
      noNewPrivileges: true,
      seccomp: "1 filter",
    });
    expect(page.seccompWanted).toBe("runtime-default");
    const whose = Object.fromEntries((page.process?.namespaces ?? []).map((one) => [one.kind, one.whose]));
    expect(whose).toMatchObject({
      net: "the pod's",
      ipc: "the pod's",
      uts: "the pod's",
      pid: "its own",
      mnt: "its own",
      user: "the host's",
    });
    for (const { kind, inode: shown } of page.process?.namespaces ?? []) {
      expect(shown, kind).toBe(inode(pid, kind));
    }
    if (hasController("memory")) {
      expect(page.limits).toContainEqual({
        file: memory,
        wanted: "67108864",
        inForce: "67108864",
        differs: false,
      });
      expect(page.usage?.memoryBytes).toBeGreaterThan(0);
    }
    expect(page.root?.layers).toEqual([expect.stringMatching(new RegExp(`^${server.dir}/lib/layers/`))]);
    expect(page.root?.upper).toBe(join(page.directory, "upper"));
    expect(page.mounts.map(({ target }) => target)).toEqual(
      expect.arrayContaining(["/", "/proc", "/dev", "/etc/hosts", "/dev/shm"]),
    );
    expect(page).toMatchObject({ logPath: container.logPath, logBytes: 0 });
  });

  it("tells limits and a log that somebody has changed", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start({ linux: { resources: { memoryLimitInBytes: 64n << 20n } } });
    const { cgroup } = await explainOne(container);
    const group = join("/sys/fs/cgroup", cgroupVersion === 1 ? "memory" : "", cgroup);
    if (hasController("memory")) {
      writeFileSync(join(group, memory), String(32 << 20));
      const page = await explainOne(container);
      expect(page.code).toBe(2);
      expect(page.problems).toEqual([`${memory} should be 67108864, and is 33554432`]);
      expect(readFileSync(join(group, memory), "utf8").trim()).toBe("33554432");
      expect((await berth(server, "explain", container.id)).stdout).toContain("DIFFERS: 67108864 is wanted");
    }
  });

  it("tells how one ended", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script("echo out; exit 7");
    await container.exited();
    const page = await explainOne(container);
    expect(page).toMatchObject({
      state: "exited",
      exit: { code: 7, reason: "Error" },
      problems: [],
      code: 0,
    });
    expect(page.milestones.map(({ what }) => what)).toEqual([
      "create was asked for",
      "started",
      "ended with exit code 7: Error",
    ]);
    expect(page.logBytes).toBeGreaterThan(0);
    const broken = await pod.create({ command: ["/no/such/program"] });
    await expect(broken.start()).rejects.toThrow();
    const failed = await explainOne(broken);
    expect(failed.exit).toMatchObject({ code: 128, reason: "StartError" });
    expect(failed.milestones.map(({ what }) => what)).toEqual([
      "create was asked for",
      "ended with exit code 128: StartError",
    ]);
  });

  it("refuses what it can't find, and what it can't mean", async () => {
    expect(await berth(server, "explain", "nobody")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no pod or container has this name/),
    });
    expect(await berth(server, "explain")).toMatchObject({ code: 64 });
    expect(await berth(server, "explain", "a", "b")).toMatchObject({ code: 64 });
  });
});
