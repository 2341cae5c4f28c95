import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import type { CallOptions } from "../lib/cri-client.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { Dice, mutate } from "../lib/mutate.ts";
import { busybox, podConfig, pull, TestPod } from "../lib/pod.ts";

let server: Berthd;
let share = "";

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  await using _first = await TestPod.run(server);
  share = join(server.dir, "logs/share");
  mkdirSync(share, { recursive: true });
  writeFileSync(join(share, "file"), "x");
});

afterAll(() => server[Symbol.asyncDispose]());

type Call = (request: object, options: CallOptions) => Promise<unknown>;

const resources = {
  cpuPeriod: 100_000n,
  cpuQuota: 50_000n,
  cpuShares: 512n,
  memoryLimitInBytes: 64n << 20n,
  oomScoreAdj: 500n,
  cpusetCpus: "0",
  cpusetMems: "0",
  hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
  unified: { "memory.high": "max" },
  memorySwapLimitInBytes: 0n,
};
const range = { hostId: 100_000, containerId: 0, length: 65_536 };
/** One pod in four has a user namespace. */
const namespaceOptions = (dice: Dice) => ({
  network: 0,
  pid: dice.pick([0, 1, 1, 1]),
  ipc: 0,
  targetId: "",
  usernsOptions:
    dice.roll() < 0.25 ? { mode: 0, uids: [range], gids: [range] } : { mode: 2, uids: [], gids: [] },
});

/** What may be made on the host stays below the server's folder and the tests' own groups. */
const harmless = () => ({
  hostPath: [share, join(share, "file"), join(share, "missing"), "", "relative", `${share}/..`, "/dev/null"],
  logDirectory: [share, "", "relative", `${share}/../share`],
  cgroupParent: [
    `${process.env.BERTH_TEST_CGROUP}/fuzz`,
    "",
    "..",
    "/../../x",
    `${process.env.BERTH_TEST_CGROUP}/a\nb`,
  ],
  command: ["/bin/true", "", "/bin/false", "/missing", "/bin/true\0"],
  args: ["", "x", "\0"],
  privileged: [false],
  image: [busybox, "", "missing", "UPPER:case", "../x", { image: busybox }, { image: "" }],
  sysctls: [{}, { "net.ipv4.ip_forward": "1" }, { "kernel.panic": "1" }, { "net.core.somaxconn": "x\ny" }],
  hostPort: [0, -1, 65_536, 23_451],
  podCidr: ["", "10.0.0.0/8", "10.0.0.0/99", "x", "fd00::/64,10.1.0.0/16"],
  location: [""],
  outputPath: [""],
  checkpointPath: [""],
  network: [0, 1, 3, 99],
});

function pod(dice: Dice): object {
  return {
    ...podConfig(server, { logDirectory: share }),
    hostname: "fuzz",
    dnsConfig: { servers: ["10.0.0.10"], searches: ["a.b"], options: ["ndots:5"] },
    portMappings: [{ protocol: 0, containerPort: 80, hostPort: 0, hostIp: "" }],
    labels: { app: "fuzz" },
    annotations: { note: "x" },
    linux: {
      cgroupParent: "",
      sysctls: {},
      overhead: resources,
      resources,
      securityContext: {
        namespaceOptions: namespaceOptions(dice),
        privileged: false,
        runAsUser: { value: 1n },
        runAsGroup: { value: 1n },
        supplementalGroups: [1n],
        supplementalGroupsPolicy: 0,
        seccomp: { profileType: 0, localhostRef: "" },
      },
    },
  };
}

function container(dice: Dice): object {
  return {
    metadata: { name: `c${dice.below(1_000_000)}`, attempt: 0 },
    image: { image: busybox },
    command: ["/bin/true"],
    args: ["x"],
    workingDir: "/tmp",
    envs: [{ key: "A", value: Buffer.from("b") }],
    mounts: [
      {
        containerPath: "/mnt",
        hostPath: share,
        readonly: true,
        propagation: 0,
        uidMappings: [],
        gidMappings: [],
        recursiveReadOnly: false,
        imageSubPath: "",
        mountOptions: ["nosuid"],
      },
    ],
    devices: [{ containerPath: "/dev/fuzz", hostPath: "/dev/null", permissions: "rwm" }],
    labels: { app: "fuzz" },
    annotations: {},
    logPath: "fuzz.log",
    stdin: false,
    stdinOnce: false,
    tty: false,
    stopSignal: 23,
    linux: {
      resources: { oomScoreAdj: 500n },
      securityContext: {
        capabilities: {
          addCapabilities: ["NET_ADMIN"],
          dropCapabilities: ["ALL"],
          addAmbientCapabilities: [],
        },
        privileged: false,
        runAsUser: { value: 1n },
        runAsUsername: "",
        readonlyRootfs: false,
        supplementalGroups: [5n],
        supplementalGroupsPolicy: 0,
        noNewPrivs: true,
        maskedPaths: ["/proc/kcore"],
        readonlyPaths: ["/proc/sys"],
        seccomp: { profileType: 0, localhostRef: "" },
      },
    },
  };
}

/** A valid request for each RPC, about something that is there. */
function requests(dice: Dice, podId: string, containerId: string): Readonly<Record<string, object>> {
  const filter = {
    id: containerId,
    podSandboxId: podId,
    state: { state: 1 },
    labelSelector: { app: "fuzz" },
  };
  const podFilter = { id: podId, state: { state: 0 }, labelSelector: { app: "fuzz" } };
  const ofContainer = { containerId };
  const ofPod = { podSandboxId: podId };
  const stream = { ...ofContainer, cmd: ["/bin/true"], tty: false, stdin: false, stdout: true, stderr: true };
  return {
    version: { version: "v1" },
    runPodSandbox: { config: pod(dice), runtimeHandler: "" },
    stopPodSandbox: ofPod,
    removePodSandbox: ofPod,
    podSandboxStatus: { ...ofPod, verbose: true },
    listPodSandbox: { filter: podFilter },
    createContainer: { ...ofPod, config: container(dice), sandboxConfig: pod(dice) },
    startContainer: ofContainer,
    stopContainer: { ...ofContainer, timeout: 1n },
    removeContainer: ofContainer,
    listContainers: { filter },
    containerStatus: { ...ofContainer, verbose: true },
    updateContainerResources: { ...ofContainer, linux: { cpuShares: 256n, memoryLimitInBytes: 32n << 20n } },
    reopenContainerLog: ofContainer,
    execSync: { ...ofContainer, cmd: ["/bin/true"], timeout: 1n },
    exec: stream,
    attach: stream,
    portForward: { ...ofPod, port: [80] },
    containerStats: ofContainer,
    listContainerStats: { filter },
    podSandboxStats: ofPod,
    listPodSandboxStats: { filter: podFilter },
    updateRuntimeConfig: { runtimeConfig: { networkConfig: { podCidr: "10.0.0.0/8" } } },
    status: { verbose: true },
    checkpointContainer: { ...ofContainer, location: "", timeout: 1n },
    checkpointPod: { ...ofPod, outputPath: "", containerIds: [containerId] },
    restorePod: { checkpointPath: "", config: pod(dice) },
    listMetricDescriptors: {},
    listPodSandboxMetrics: {},
    runtimeConfig: {},
    updatePodSandboxResources: { ...ofPod, resources },
  };
}

const seed = Number(process.env.BERTH_FUZZ_SEED ?? 20_261_124);
const rounds = Number(process.env.BERTH_FUZZ_ROUNDS ?? 600);

describe("any request", () => {
  it(`is answered, harms nobody and leaves nothing (seed ${seed})`, async () => {
    const before = await footprint(server);
    const dice = new Dice(seed);
    const neighbour = await TestPod.run(server);
    const witness = await neighbour.start();
    const codes = new Map<number, number>();
    const one = async (): Promise<void> => {
      const pods = (await server.runtime.listPodSandbox()).items.filter(({ id }) => id !== neighbour.id);
      const containers = (await server.runtime.listContainers()).containers.filter(
        ({ id }) => id !== witness.id,
      );
      const podId = pods.length > 0 ? dice.pick(pods).id : "";
      const containerId = containers.length > 0 ? dice.pick(containers).id : "";
      const whole = requests(dice, podId, containerId);
      const often = ["runPodSandbox", "createContainer", "startContainer"];
      const name = dice.roll() < 0.4 ? dice.pick(often) : dice.pick(Object.keys(whole));
      const request = mutate(whole[name], dice, dice.pick([0, 0.02, 0.1, 0.4]), harmless()) ?? {};
      const deadline = dice.roll() < 0.1 ? 1 + dice.below(20) : 20_000;
      const call = (server.runtime as unknown as Record<string, Call>)[name];
      const code = await call?.(request as object, { deadline }).then(
        () => 0,
        (error: { readonly code?: number }) => error.code ?? 99,
      );
      codes.set(code ?? 99, (codes.get(code ?? 99) ?? 0) + 1);
    };
    for (let round = 0; round < rounds; round += 4) {
      await Promise.all([one(), one(), one(), one()]);
      if (round % 100 === 0) await server.runtime.listPodSandbox().then(trim(neighbour.id));
    }
    expect(await witness.sh("echo alive")).toBe("alive");
    await neighbour.remove();
    await server.removePods();
    await expectNothingLeft(server, before, 20_000);
    const unforeseen = (await server.log()).split("\n").filter((line) => line.includes('"errorId"'));
    expect(unforeseen.slice(0, 3)).toEqual([]);
    expect(await server.log()).not.toContain("nobody handled it");
    expect(codes.get(0)).toBeGreaterThan(rounds / 10);
  }, 300_000);
});

/** Removes what is there beyond a handful, so that a run of any length fits the machine. */
const trim =
  (keep: string) =>
  async ({ items }: { readonly items: readonly { readonly id: string }[] }): Promise<void> => {
    const tooMany = items.filter(({ id }) => id !== keep).slice(12);
    await Promise.all(tooMany.map(({ id }) => server.runtime.removePodSandbox({ podSandboxId: id })));
  };
