import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Explanation } from "../../cri-server/src/model/explanation.ts";
import type { FindingOutcome } from "../../cri-server/src/model/finding.ts";
import { berth } from "../lib/berth.ts";
import { Berthd } from "../lib/berthd.ts";
import { hasController } from "../lib/cgroup.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { cgroupVersion, hasNat } from "../lib/kernel.ts";
import { podConfig, pull, type TestContainer, TestPod } from "../lib/pod.ts";

let server: Berthd;
beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

interface Checked {
  readonly code: number | null;
  readonly findings: readonly FindingOutcome[];
}

async function fsck(...flags: readonly string[]): Promise<Checked> {
  const { code, stdout, stderr } = await berth(server, "fsck", "--json", ...flags);
  if (stdout === "") throw new Error(`berth fsck ended with ${code}: ${stderr}`);
  return { code, findings: JSON.parse(stdout) as readonly FindingOutcome[] };
}

async function explain(subject: string): Promise<Explanation> {
  return JSON.parse((await berth(server, "explain", "--json", subject)).stdout) as Explanation;
}

const newId = (): string => randomBytes(32).toString("hex");

/** Looks, and sees exactly `wanted`; has it repaired, for which it has to be there still; looks again, and all is well. */
async function findsAndRepairs(...wanted: readonly Partial<FindingOutcome>[]): Promise<void> {
  const seen = await fsck();
  expect(seen.findings).toMatchObject(wanted.map((one) => ({ ...one, outcome: "repairable" })));
  expect(seen.code).toBe(2);
  const repaired = await fsck("--repair");
  expect(repaired.findings).toMatchObject(wanted.map((one) => ({ ...one, outcome: "repaired" })));
  expect(repaired.code).toBe(0);
  expect(await fsck()).toEqual({ code: 0, findings: [] });
}

async function monitorOf(pod: TestPod): Promise<number> {
  return (await explain(pod.id)).pod.monitor?.pid ?? 0;
}

function pinOf(pod: TestPod): string {
  return join(server.dir, "netns", `berth-${pod.id}`);
}

const labelOf = (pod: TestPod): string => `pod test/${pod.config.metadata?.name} (${pod.id.slice(0, 13)})`;

/** The group's directory in the hierarchy of memory, or in the one that there is. */
async function groupOf(container: TestContainer): Promise<string> {
  const { containers } = await explain(container.id);
  return join("/sys/fs/cgroup", cgroupVersion === 1 ? "memory" : "", containers[0]?.cgroup ?? "");
}

describe("berth fsck", () => {
  it("agrees with a server at work, in words and as JSON", async () => {
    await using pod = await TestPod.run(server, {
      portMappings: hasNat ? [{ protocol: 0, containerPort: 80, hostPort: 18090, hostIp: "" }] : [],
    });
    await pod.start({ linux: { resources: { memoryLimitInBytes: 64n << 20n, cpuShares: 100n } } });
    await (await pod.script("exit 1")).exited();
    expect(await berth(server, "fsck")).toMatchObject({
      code: 0,
      stdout: "records, kernel and store agree\n",
    });
    expect(await fsck("--repair")).toEqual({ code: 0, findings: [] });
    expect(await berth(server, "fsck", "--dance")).toMatchObject({ code: 64 });
  });

  it("finds a pod whose monitor was killed, and frees what it holds", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const link = (await explain(pod.id)).pod.network?.interfaces.find(({ name }) => name === "eth0");
    process.kill(await monitorOf(pod), "SIGKILL");
    await container.exited();
    await eventually(async () => expect((await pod.status()).state).toBe(1));
    await findsAndRepairs({
      kind: "lost",
      subject: labelOf(pod),
      what: expect.stringMatching(/can't run any more \(MonitorLost\)/),
    });
    expect(link?.hostLink).toMatch(/^veth/);
    await eventually(() => expect(existsSync(`/sys/class/net/${link?.hostLink}`)).toBe(false));
  });

  it("names a monitor that does not answer, and leaves it alone", async () => {
    await using pod = await TestPod.run(server);
    const pid = await monitorOf(pod);
    process.kill(pid, "SIGSTOP");
    try {
      const { findings, code } = await fsck("--repair");
      expect(findings).toMatchObject([
        {
          kind: "stuck",
          subject: labelOf(pod),
          what: expect.stringContaining(`pid ${pid}`),
          outcome: "manual",
        },
      ]);
      expect(code).toBe(2);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    expect(await fsck()).toEqual({ code: 0, findings: [] });
  });

  it("finds a network namespace that is not pinned any more, and pins it again", async () => {
    await using pod = await TestPod.run(server);
    const before = statSync(pinOf(pod)).ino;
    await run("umount", [pinOf(pod)]);
    await findsAndRepairs({
      kind: "missing",
      subject: labelOf(pod),
      what: expect.stringContaining("is not pinned"),
    });
    expect(statSync(pinOf(pod)).ino).toBe(before);
  });

  it("finds another namespace in its place", async () => {
    await using pod = await TestPod.run(server);
    const before = statSync(pinOf(pod)).ino;
    await run("mount", ["--bind", "/proc/self/ns/net", pinOf(pod)]);
    await findsAndRepairs({
      kind: "differs",
      subject: labelOf(pod),
      what: expect.stringMatching(/pins net:\[\d+\], but its monitor holds net:\[\d+\]/),
    });
    expect(statSync(pinOf(pod)).ino).toBe(before);
  });

  it("finds an unmounted /dev/shm", async () => {
    await using pod = await TestPod.run(server);
    await pod.start();
    const shm = join(server.dir, "run/pods", pod.id, "shm");
    await run("umount", [shm]);
    await findsAndRepairs({
      kind: "missing",
      subject: labelOf(pod),
      what: `nothing is mounted at ${shm}, its /dev/shm`,
    });
    const later = await pod.start();
    expect(await later.sh("stat -c %a /dev/shm; touch /dev/shm/x; df -m /dev/shm | tail -1")).toMatch(
      /^1777\n\S+ +64 /,
    );
  });

  it("finds an address that somebody took away, which only a new pod gets back", async () => {
    await using pod = await TestPod.run(server);
    await run("nsenter", [`--net=${pinOf(pod)}`, "ip", "address", "flush", "dev", "eth0"]);
    const { findings, code } = await fsck("--repair");
    expect(findings).toMatchObject([
      {
        kind: "missing",
        subject: labelOf(pod),
        what: expect.stringMatching(/eth0 has lost its address/),
        outcome: "manual",
      },
    ]);
    expect(code).toBe(2);
  });

  it("finds a process outside of its group, and ends its container", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const group = await groupOf(container);
    const pid = (await explain(container.id)).containers[0]?.process?.pid ?? 0;
    writeFileSync(
      "/sys/fs/cgroup/memory/cgroup.procs".replace("/memory", cgroupVersion === 1 ? "/memory" : ""),
      String(pid),
    );
    await eventually(() => rmdirSync(group));
    await findsAndRepairs({
      kind: "missing",
      subject: expect.stringContaining(container.id.slice(0, 13)),
      what: expect.stringContaining(`process ${pid} is outside of ${group}`),
    });
    expect((await container.status()).exitCode).toBe(137);
  });

  it.runIf(hasController("memory"))(
    "finds limits that somebody has changed, and sets them again",
    async () => {
      await using pod = await TestPod.run(server);
      const container = await pod.start({ linux: { resources: { memoryLimitInBytes: 64n << 20n } } });
      const file = join(
        await groupOf(container),
        cgroupVersion === 1 ? "memory.limit_in_bytes" : "memory.max",
      );
      writeFileSync(file, String(32 << 20));
      await findsAndRepairs({
        kind: "differs",
        subject: expect.stringContaining(container.id.slice(0, 13)),
        what: `${basename(file)} is 33554432, not 67108864`,
      });
      expect(readFileSync(file, "utf8").trim()).toBe("67108864");
    },
  );

  it("finds pins of nobody, and leaves those alone that somebody uses", async () => {
    const [stray, unused, used] = [newId(), newId(), newId()].map((id) =>
      join(server.dir, "netns", `berth-${id}`),
    );
    if (stray === undefined || unused === undefined || used === undefined) throw new Error("three are made");
    const holder = spawn("unshare", ["--net", "sleep", "600"], { stdio: "ignore" });
    try {
      await once(holder, "spawn");
      for (const path of [stray, unused, used]) writeFileSync(path, "");
      await run("unshare", [
        "--net",
        "--",
        "sh",
        "-c",
        `nsenter --target ${process.pid} --mount -- mount --bind /proc/$$/ns/net ${unused}`,
      ]);
      const own = statSync("/proc/self/ns/net").ino;
      await eventually(() => expect(statSync(`/proc/${holder.pid}/ns/net`).ino).not.toBe(own));
      await run("mount", ["--bind", `/proc/${holder.pid}/ns/net`, used]);
      const orphans = [
        { kind: "orphan", subject: stray, what: expect.stringContaining("nothing mounted") },
        { kind: "orphan", subject: unused, what: expect.stringContaining("no process uses it") },
      ] as const;
      await findsAndRepairs(...[...orphans].sort((a, b) => (a.subject < b.subject ? -1 : 1)));
      expect([stray, unused, used].map((path) => existsSync(path))).toEqual([false, false, true]);
    } finally {
      holder.kill("SIGKILL");
      for (const path of [unused, used]) await run("sh", ["-c", `umount ${path} 2>/dev/null; rm -f ${path}`]);
    }
  });

  it("finds directories and exit records without a record", async () => {
    const [pod, container, exit] = [newId(), newId(), newId()];
    const podDir = join(server.dir, "run/pods", pod);
    const layer = join(server.dir, "lib/containers", container);
    const exitFile = join(server.dir, "lib/exits", exit);
    mkdirSync(join(podDir, "shm"), { recursive: true });
    await run("mount", ["-t", "tmpfs", "shm", join(podDir, "shm")]);
    mkdirSync(join(layer, "upper"), { recursive: true });
    writeFileSync(exitFile, "");
    const seen = await fsck();
    expect(new Set(seen.findings.map(({ kind, subject }) => `${kind} ${basename(subject)}`))).toEqual(
      new Set([`orphan ${pod}`, `orphan ${container}`, `orphan ${exit}`]),
    );
    expect([podDir, layer, exitFile].map((path) => existsSync(path))).toEqual([true, true, true]);
    expect((await fsck("--repair")).code).toBe(0);
    expect([podDir, layer, exitFile].map((path) => existsSync(path))).toEqual([false, false, false]);
    expect(await fsck()).toEqual({ code: 0, findings: [] });
  });

  it("finds a group without a record, and ends what is in it", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start();
    const id = newId();
    const group = join(await groupOf(container), "..", id);
    mkdirSync(group);
    const stray = spawn("sleep", ["600"], { stdio: "ignore" });
    try {
      await once(stray, "spawn");
      const ended = once(stray, "exit");
      writeFileSync(join(group, "cgroup.procs"), String(stray.pid));
      await findsAndRepairs({
        kind: "orphan",
        subject: expect.stringMatching(new RegExp(`^cgroup .*/${id}$`)),
      });
      expect(await ended).toEqual([null, "SIGKILL"]);
    } finally {
      stray.kill("SIGKILL");
    }
    expect(existsSync(group)).toBe(false);
    expect((await container.status()).state).toBe(1);
  });
});

/** A CNI ADD by the plugin's executable, behind the server's back. */
async function attachByHand(id: string, netns: string, hostPort: number): Promise<string> {
  const conflist = JSON.parse(readFileSync(join(server.dir, "cni.d/10-berth.conflist"), "utf8")) as {
    readonly name: string;
    readonly cniVersion: string;
    readonly plugins: readonly object[];
  };
  const { name, cniVersion, plugins } = conflist;
  const portMappings = hasNat ? [{ hostPort, containerPort: 80, protocol: "tcp" }] : [];
  const stdin = join(server.dir, "add.json");
  writeFileSync(stdin, JSON.stringify({ ...plugins[0], name, cniVersion, runtimeConfig: { portMappings } }));
  const env = `CNI_COMMAND=ADD CNI_CONTAINERID=${id} CNI_IFNAME=eth0 CNI_NETNS=${netns} CNI_PATH=${nativeDir}`;
  await run("sh", ["-c", `${env} ${nativeDir}/berth < ${stdin}`]);
  rmSync(stdin);
  return name;
}

const nativeDir = join(import.meta.dirname, "../../native/build");

describe("berth fsck of what the network has left", () => {
  it("finds links, host ports and attachments of pods that are gone", async () => {
    await using pod = await TestPod.run(server);
    const { pod: page } = await explain(pod.id);
    const holder = spawn("unshare", ["--net", "sleep", "600"], { stdio: "ignore" });
    const [id, forgotten] = [newId(), newId()];
    try {
      await once(holder, "spawn");
      const own = statSync("/proc/self/ns/net").ino;
      await eventually(() => expect(statSync(`/proc/${holder.pid}/ns/net`).ino).not.toBe(own));
      const network = await attachByHand(id, `/proc/${holder.pid}/ns/net`, 18099);
      const results = join(server.dir, "cni/results");
      const entry = JSON.parse(readFileSync(join(results, `${network}-${pod.id}-eth0`), "utf8")) as object;
      const copy = { ...entry, containerId: forgotten, netns: "" };
      writeFileSync(join(results, `${network}-${forgotten}-eth0`), JSON.stringify(copy));
      await findsAndRepairs(
        { kind: "orphan", subject: `CNI attachment of ${forgotten}` },
        { kind: "orphan", subject: expect.stringMatching(/^link veth/) },
        ...(hasNat
          ? ([{ kind: "orphan", subject: expect.stringMatching(/^host port tcp 18099 -> 10\./) }] as const)
          : []),
      );
    } finally {
      holder.kill("SIGKILL");
    }
    // The pod beside them has kept all that is its own.
    expect(await pod.ip()).toBe(page.network?.ips[0]);
    expect((await berth(server, "explain", pod.id)).code).toBe(0);
  });
});

describe("berth fsck of a server of its own", () => {
  it("finds what a lost journal leaves running, and ends it", async () => {
    await using own = await Berthd.start();
    await pull(own);
    const pod = await TestPod.run(own);
    const container = await pod.start();
    const page = JSON.parse((await berth(own, "explain", "--json", pod.id)).stdout) as Explanation;
    const [monitor, process] = [page.pod.monitor?.pid ?? 0, page.containers[0]?.process?.pid ?? 0];
    await own.stop("SIGKILL");
    rmSync(join(own.dir, "lib/journal"));
    await own.again();
    const seen = JSON.parse((await berth(own, "fsck", "--json")).stdout) as readonly FindingOutcome[];
    expect(seen).toContainEqual(
      expect.objectContaining({ kind: "orphan", subject: `process ${monitor}`, outcome: "repairable" }),
    );
    expect(existsSync(`/proc/${process}`)).toBe(true);
    const repaired = await berth(own, "fsck", "--repair");
    expect(repaired.stdout).toMatch(/repaired, 0 left\n$/);
    expect(repaired.code).toBe(0);
    await eventually(() =>
      expect([monitor, process].filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]),
    );
    expect(await berth(own, "fsck")).toMatchObject({ code: 0 });
    expect(container.id).toHaveLength(64);
  });

  it("finds a pod that could not be taken back, and work that fails", async () => {
    await using own = await Berthd.start({
      env: {
        BERTH_FAILPOINTS: "sandbox.run.record=1*error;undo.step=1*error;sandbox.stop.detach=error",
      },
    });
    await expect(own.runtime.runPodSandbox({ config: podConfig(own) })).rejects.toThrow();
    const pod = await TestPod.run(own);
    await pod.stop();
    await eventually(async () => {
      const { stdout } = await berth(own, "fsck", "--json");
      expect(JSON.parse(stdout)).toMatchObject([
        { kind: "stuck", subject: `stop ${pod.id}`, outcome: "manual" },
        { kind: "lost", what: expect.stringMatching(/^run failed .* taking back: test step$/) },
      ]);
    });
    const repaired = await berth(own, "fsck", "--repair", "--json");
    expect(repaired.code).toBe(2);
    expect(JSON.parse(repaired.stdout)).toMatchObject([
      { kind: "stuck", outcome: "manual" },
      { kind: "lost", outcome: "repaired" },
    ]);
    await own.stop();
    await own.again({});
    await eventually(async () => expect(await berth(own, "fsck")).toMatchObject({ code: 0 }));
  });
});
