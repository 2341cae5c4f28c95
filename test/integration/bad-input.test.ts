import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ContainerConfig,
  type DeepPartial,
  NamespaceMode,
  type PodSandboxConfig,
  Protocol,
} from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { busybox, podConfig, pull, TestPod } from "../lib/pod.ts";

let server: Berthd;
let pod: TestPod;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  pod = await TestPod.run(server);
  // The server keeps the program of the rules for devices that the init of a shared PID namespace has.
  await using _shared = await TestPod.run(server, {
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } },
  });
});

afterAll(() => server[Symbol.asyncDispose]());

/** gRPC status numbers. */
const invalidArgument = 3;
const notFound = 5;
const alreadyExists = 6;
const failedPrecondition = 9;
const resourceExhausted = 8;

const absentId = "0".repeat(64);
const metadata = { name: "bad", uid: "u1", namespace: "test", attempt: 0 };

/** A pod that must be refused, and what the message has to name. */
const badPods: readonly (readonly [string, DeepPartial<PodSandboxConfig>, RegExp])[] = [
  ["no metadata", { metadata: undefined }, /metadata/],
  ["an empty name", { metadata: { ...metadata, name: "" } }, /name/],
  ["an empty namespace", { metadata: { ...metadata, namespace: "" } }, /namespace/],
  ["an empty uid", { metadata: { ...metadata, uid: "" } }, /uid/],
  ["a host name that is none", { hostname: "not a hostname" }, /hostname.*not a hostname/],
  ["a relative log directory", { logDirectory: "logs/here" }, /log_?directory.*logs\/here/i],
  ["a cgroup parent that climbs", { linux: { cgroupParent: "/../../etc" } }, /cgroup_?parent.*\.\./i],
  [
    "a sysctl that no kernel has",
    { linux: { sysctls: { "net.no.such": "1" } } },
    /sysctls net\.no\.such = 1/,
  ],
  [
    "a sysctl of a value that it can't have",
    { linux: { sysctls: { "net.core.somaxconn": "many" } } },
    /sysctls net\.core\.somaxconn = many/,
  ],
  ["a sysctl of the host's", { linux: { sysctls: { "kernel.panic": "1" } } }, /kernel\.panic/],
  [
    "a network sysctl in the host's network",
    {
      linux: {
        sysctls: { "net.ipv4.ip_forward": "1" },
        securityContext: { namespaceOptions: { network: NamespaceMode.NODE } },
      },
    },
    /net\.ipv4\.ip_forward/,
  ],
  [
    "CONTAINER as a network mode",
    { linux: { securityContext: { namespaceOptions: { network: NamespaceMode.CONTAINER } } } },
    /network/,
  ],
  [
    "TARGET as an IPC mode",
    { linux: { securityContext: { namespaceOptions: { ipc: NamespaceMode.TARGET } } } },
    /ipc/,
  ],
  [
    "a user namespace of two ranges",
    {
      linux: {
        securityContext: {
          namespaceOptions: {
            usernsOptions: {
              mode: NamespaceMode.POD,
              uids: [
                { containerId: 0, hostId: 100_000, length: 10 },
                { containerId: 10, hostId: 200_000, length: 10 },
              ],
              gids: [{ containerId: 0, hostId: 100_000, length: 20 }],
            },
          },
        },
      },
    },
    /userns|uids/,
  ],
  [
    "a group without a user",
    { linux: { securityContext: { runAsGroup: { value: 5n } } } },
    /run_?as_?group/i,
  ],
  ["a port beyond all", { portMappings: [{ containerPort: 70_000, hostPort: 80 }] }, /70000/],
  [
    "a host address that is none",
    { portMappings: [{ protocol: Protocol.TCP, containerPort: 80, hostPort: 8080, hostIp: "here" }] },
    /here/,
  ],
];

describe("RunPodSandbox refuses", () => {
  it.each(badPods)("%s", async (_what, config, message) => {
    const before = await footprint(server);
    const request = {
      config: { ...podConfig(server, config), metadata: config.metadata ?? metadata, ...config },
    };
    const refused = expect(server.runtime.runPodSandbox(request)).rejects;
    await refused.toMatchObject({ code: invalidArgument, message: expect.stringMatching(message) });
    await expectNothingLeft(server, before);
  });

  it("a request without a configuration", async () => {
    await expect(server.runtime.runPodSandbox({})).rejects.toMatchObject({ code: invalidArgument });
  });

  it("an unknown handler", async () => {
    const request = { config: podConfig(server), runtimeHandler: "no-such" };
    await expect(server.runtime.runPodSandbox(request)).rejects.toMatchObject({
      code: invalidArgument,
      message: expect.stringContaining("no-such"),
    });
  });

  it("the same pod twice", async () => {
    const before = await footprint(server);
    await expect(server.runtime.runPodSandbox({ config: pod.config })).rejects.toMatchObject({
      code: alreadyExists,
    });
    await expectNothingLeft(server, before);
  });
});

const security = (context: DeepPartial<NonNullable<ContainerConfig["linux"]>["securityContext"]>) => ({
  linux: { securityContext: context },
});

const badContainers: readonly (readonly [string, DeepPartial<ContainerConfig>, RegExp])[] = [
  ["no metadata", { metadata: undefined }, /metadata/],
  ["an empty name", { metadata: { name: "", attempt: 0 } }, /name/],
  ["no image", { image: undefined }, /image/],
  ["an absent image", { image: { image: "registry.test/absent:1" } }, /absent/],
  ["a log path that climbs", { logPath: "../../escape.log" }, /log_?path.*escape/i],
  ["an unknown user", security({ runAsUsername: "nosuchuser" }), /nosuchuser/],
  ["user id and name", security({ runAsUser: { value: 1n }, runAsUsername: "nobody" }), /run_?as_?user/i],
  ["a group without a user", security({ runAsGroup: { value: 5n } }), /run_?as_?group/i],
  ["a negative user", security({ runAsUser: { value: -1n } }), /-1/],
  ["an unknown capability", security({ capabilities: { addCapabilities: ["FLY"] } }), /FLY/],
  ["privileges that the pod has not", security({ privileged: true }), /privileged/],
  [
    "a seccomp profile that is not there",
    security({ seccomp: { profileType: 2, localhostRef: "/no/profile.json" } }),
    /\/no\/profile\.json/,
  ],
  [
    "an AppArmor profile that is not loaded",
    security({ apparmor: { profileType: 2, localhostRef: "no-profile" } }),
    /no-profile|apparmor/i,
  ],
  [
    "a mount of nothing",
    { mounts: [{ hostPath: "/no/such/source", containerPath: "/mnt" }] },
    /\/no\/such\/source/,
  ],
  ["a mount to nowhere", { mounts: [{ hostPath: "/tmp", containerPath: "" }] }, /container_?path/i],
  ["a relative mount source", { mounts: [{ hostPath: "tmp", containerPath: "/mnt" }] }, /tmp/],
  [
    "recursive read-only without read-only",
    { mounts: [{ hostPath: "/tmp", containerPath: "/mnt", recursiveReadOnly: true }] },
    /recursive_?read_?only/i,
  ],
  [
    "recursive read-only with propagation",
    {
      mounts: [
        { hostPath: "/tmp", containerPath: "/mnt", readonly: true, recursiveReadOnly: true, propagation: 2 },
      ],
    },
    /propagation/i,
  ],
  [
    "an image volume that may be written",
    { mounts: [{ containerPath: "/mnt", hostPath: "/tmp", image: { image: busybox } }] },
    /host_?path|image/i,
  ],
  [
    "a device that is none",
    { devices: [{ hostPath: "/no/device", containerPath: "/dev/x", permissions: "rwm" }] },
    /\/no\/device/,
  ],
  [
    "permissions that are none",
    { devices: [{ hostPath: "/dev/null", containerPath: "/dev/x", permissions: "rwx" }] },
    /rwx/,
  ],
  ["an unknown CDI device", { CDIDevices: [{ name: "vendor.test/class=none" }] }, /vendor\.test\/class=none/],
  ["a negative memory limit", { linux: { resources: { memoryLimitInBytes: -5n } } }, /-5/],
  [
    "a CPU period that is too short",
    { linux: { resources: { cpuPeriod: 10n, cpuQuota: 5n } } },
    /cpu_?period.*10/i,
  ],
  ["a CPU set that is none", { linux: { resources: { cpusetCpus: "zero" } } }, /zero/],
  ["an OOM score beyond all", { linux: { resources: { oomScoreAdj: 2000n } } }, /2000/],
  ["an environment name with =", { envs: [{ key: "A=B", value: Buffer.from("c") }] }, /A=B/],
  ["a relative working directory", { workingDir: "here" }, /working_?dir.*here/i],
];

describe("CreateContainer refuses", () => {
  it.each(badContainers)("%s", async (_what, config, message) => {
    const before = await footprint(server);
    const refused = expect(
      pod.create({ metadata: { name: "bad", attempt: 0 }, logPath: "bad.log", ...config }),
    ).rejects;
    await refused.toMatchObject({ message: expect.stringMatching(message) });
    expect((await server.runtime.listContainers()).containers).toEqual([]);
    await expectNothingLeft(server, before);
  });

  it("an unknown pod, a stopped one, and a name that is taken", async () => {
    const config = { metadata: { name: "x", attempt: 0 }, image: { image: busybox } };
    await expect(server.runtime.createContainer({ podSandboxId: absentId, config })).rejects.toMatchObject({
      code: notFound,
    });
    await using other = await TestPod.run(server);
    const same = { metadata: { name: "same", attempt: 0 }, logPath: "same.log" };
    await other.create(same);
    await expect(other.create(same)).rejects.toMatchObject({ code: alreadyExists });
    await other.create({ ...same, metadata: { name: "same", attempt: 1 } });
    await other.stop();
    await expect(other.create()).rejects.toMatchObject({ code: failedPrecondition });
  });

  it("a user that the image's own passwd file gives a bad line", async () => {
    await using other = await TestPod.run(server);
    const passwd = join(server.dir, "passwd");
    await writeFile(passwd, "odd:x:not-a-number:0::/:/bin/sh\n");
    const config = {
      mounts: [{ hostPath: passwd, containerPath: "/etc/passwd" }],
      ...security({ runAsUsername: "odd" }),
    };
    await expect(other.create(config)).rejects.toThrow(/odd/);
  });
});

describe("an unknown id", () => {
  it("is NotFound where something is asked or wanted of it", async () => {
    const { runtime } = server;
    const calls = [
      runtime.podSandboxStatus({ podSandboxId: absentId }),
      runtime.containerStatus({ containerId: absentId }),
      runtime.startContainer({ containerId: absentId }),
      runtime.execSync({ containerId: absentId, cmd: ["true"] }),
      runtime.exec({ containerId: absentId, cmd: ["true"], stdout: true }),
      runtime.attach({ containerId: absentId, stdout: true }),
      runtime.portForward({ podSandboxId: absentId }),
      runtime.containerStats({ containerId: absentId }),
      runtime.updateContainerResources({ containerId: absentId, linux: { cpuShares: 5n } }),
      runtime.reopenContainerLog({ containerId: absentId }),
    ];
    for (const outcome of await Promise.allSettled(calls)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: notFound } });
    }
  });

  it("is success where it has to be gone", async () => {
    const { runtime, image } = server;
    await runtime.stopPodSandbox({ podSandboxId: absentId });
    await runtime.removePodSandbox({ podSandboxId: absentId });
    await runtime.stopContainer({ containerId: absentId, timeout: 0 });
    await runtime.removeContainer({ containerId: absentId });
    await image.removeImage({ image: { image: "registry.test/absent:1" } });
    expect((await image.imageStatus({ image: { image: "registry.test/absent:1" } })).image).toBeUndefined();
  });
});

describe("a wrong state", () => {
  it("is refused", async () => {
    await using other = await TestPod.run(server);
    const ended = await other.script("exit 0");
    await ended.exited();
    await expect(ended.start()).rejects.toMatchObject({ code: failedPrecondition });
    await expect(ended.exec("true")).rejects.toMatchObject({ code: failedPrecondition });
    const created = await other.create();
    await expect(created.exec("true")).rejects.toMatchObject({ code: failedPrecondition });
    const running = await other.start();
    await expect(running.start()).rejects.toMatchObject({ code: failedPrecondition });
  });
});

describe("Exec and Attach", () => {
  it("refuse no stream at all, and a terminal with a separate standard error", async () => {
    await using other = await TestPod.run(server);
    const { id: containerId } = await other.start();
    const cmd = ["true"];
    for (const flags of [{}, { tty: true, stdout: true, stderr: true }]) {
      await expect(server.runtime.exec({ containerId, cmd, ...flags })).rejects.toMatchObject({
        code: invalidArgument,
      });
      await expect(server.runtime.attach({ containerId, ...flags })).rejects.toMatchObject({
        code: invalidArgument,
      });
    }
    await expect(server.runtime.exec({ containerId, stdout: true })).rejects.toMatchObject({
      code: invalidArgument,
    });
  });
});

describe("a client that gives up", () => {
  it.each([1, 3, 10, 25])(
    "after %i ms leaves nothing, and its repeated request succeeds",
    async (deadline) => {
      const before = await footprint(server);
      const config = podConfig(server);
      const first = await server.runtime.runPodSandbox({ config }, { deadline }).catch(() => undefined);
      const id = first?.podSandboxId ?? (await repeat(config));
      await server.runtime.removePodSandbox({ podSandboxId: id });
      await expectNothingLeft(server, before, 10_000);
    },
  );

  /** What the kubelet does: the same request until it succeeds. */
  async function repeat(config: DeepPartial<PodSandboxConfig>): Promise<string> {
    for (let attempt = 0; attempt < 50; attempt += 1) {
      const answer = await server.runtime.runPodSandbox({ config }).catch((error: { code: number }) => {
        if (error.code !== alreadyExists) throw error;
      });
      if (answer !== undefined) return answer.podSandboxId;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error("the request that was given up wedges the pod");
  }

  it("by cancelling ExecSync kills what it started", async () => {
    await using other = await TestPod.run(server);
    const container = await other.start();
    const { signal, abort } = abortAfter(200);
    const cmd = ["/bin/sleep", "87654"];
    await expect(
      server.runtime.execSync({ containerId: container.id, cmd }, { signal }),
    ).rejects.toMatchObject({ code: 1 });
    abort();
    await expect.poll(() => container.sh("ps | grep -c '8765[4]' || true"), { timeout: 5000 }).toBe("0");
  });
});

function abortAfter(milliseconds: number): { readonly signal: AbortSignal; readonly abort: () => void } {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), milliseconds);
  return { signal: controller.signal, abort: () => controller.abort() };
}

describe("a large request", () => {
  it("is read up to 16 MiB and refused by what is in it; one that is larger is refused unread; neither is fatal", async () => {
    const big = (bytes: number) => TestPod.run(server, { annotations: { big: "x".repeat(bytes) } });
    await using most = await big((1 << 20) - 1024);
    expect((await most.status()).annotations.big?.length).toBe((1 << 20) - 1024);
    await expect(big((16 << 20) - 4096)).rejects.toMatchObject({
      code: invalidArgument,
      message: expect.stringContaining("annotations"),
    });
    await expect(big(33 << 20)).rejects.toMatchObject({ code: resourceExhausted });
    expect((await server.runtime.version()).version).toBe("0.1.0");
  });
});
