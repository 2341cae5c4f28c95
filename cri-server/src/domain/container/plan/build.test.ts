import { describe, expect, it } from "vitest";
import type { ContainerConfig, MountRequest, SecurityContext } from "../../../model/container.ts";
import type { ContainerId } from "../../../model/ids.ts";
import type { RootOp } from "../../../model/plan.ts";
import type { SandboxConfig } from "../../../model/sandbox.ts";
import type { HostFacts } from "../../../ports/host.ts";
import type { LaunchInput } from "./build.ts";
import { buildExecPlan, buildLaunchPlan } from "./build.ts";
import { bundleConfig } from "./hooks.ts";

const host: HostFacts = {
  cgroupVersion: 2,
  kernel: { major: 6, minor: 18 },
  arch: "x64",
  bootId: "boot",
  boundingCapabilities: (1n << 41n) - 1n,
  oomScoreAdj: 0,
  canLowerOomScore: true,
  maxOpenFiles: 524_288n,
  apparmor: false,
  selinux: false,
  recursiveReadOnlyMounts: true,
  idmappedMounts: true,
  userNamespaces: true,
  timeNamespaces: true,
  overlayLowerdirAppend: true,
  hugePageSizes: ["2MB"],
};

const security: SecurityContext = {
  capabilitiesAdd: [],
  capabilitiesDrop: [],
  capabilitiesAmbient: [],
  privileged: false,
  namespaces: { network: "POD", pid: "CONTAINER", ipc: "POD" },
  user: { supplementalGroups: [], groupsPolicy: "merge" },
  readonlyRootfs: false,
  noNewPrivileges: false,
  maskedPaths: ["/proc/kcore", "/proc/not-there"],
  readonlyPaths: ["/proc/sys"],
  seccomp: { kind: "unconfined" },
};

const config = (
  fields: Partial<ContainerConfig> = {},
  own: Partial<SecurityContext> = {},
): ContainerConfig => ({
  metadata: { name: "c", attempt: 0 },
  image: "sha256:i",
  userSpecifiedImage: "i",
  command: [],
  args: [],
  workingDir: "",
  envs: [],
  mounts: [],
  devices: [],
  cdiDevices: [],
  labels: {},
  annotations: {},
  logPath: "c.log",
  stdin: false,
  stdinOnce: false,
  tty: false,
  resources: {},
  security: { ...security, ...own },
  ...fields,
});

const input = (fields: Partial<LaunchInput> = {}): LaunchInput => ({
  containerId: "c1" as ContainerId,
  config: config(),
  sandbox: { config: { annotations: {}, privileged: false } as unknown as SandboxConfig },
  lease: { layerDirs: ["/layers/low", "/layers/high"] },
  volumes: new Map(),
  args: ["/bin/true"],
  user: { uid: 1, gid: 2, groups: [2, 3], home: "/" },
  facts: { env: ["PATH=/bin"], cwd: "/", seccompKey: "", apparmor: "", oomScoreAdj: 100 },
  seccomp: new Uint8Array([1, 2]),
  devices: [],
  injectedMounts: [],
  hooks: [],
  cgroup: { version: 2, mkdirs: ["/g"], writes: [], join: ["/g"], oomFile: "", deviceProgramFd: undefined },
  cgroupView: { version: 2, mountpoint: "/sys/fs/cgroup" },
  files: { resolvConf: "/p/resolv.conf", hostname: "/p/hostname", hosts: "/p/hosts", shm: "/p/shm" },
  paths: {
    upper: "/c/upper",
    work: "/c/work",
    log: "/logs/c.log",
    exitFile: "/exits/c1",
    bundle: "/c/bundle",
  },
  targetPid: undefined,
  host,
  maxLogLineBytes: 16_384,
  ...fields,
});

const mount = (containerPath: string, fields: Partial<MountRequest> = {}): MountRequest => ({
  containerPath,
  hostPath: "/srv",
  readonly: false,
  recursiveReadOnly: false,
  propagation: "private",
  selinuxRelabel: false,
  uidMappings: [],
  gidMappings: [],
  image: "",
  imageSubPath: "",
  options: [],
  ...fields,
});

const short = (op: RootOp) => `${op.op === "fs" ? op.type : op.op} ${op.target}`;
const opsOf = (fields: Partial<LaunchInput> = {}) => buildLaunchPlan(input(fields)).ops;
const find = (ops: readonly RootOp[], target: string) => ops.find((op) => op.target === target);

describe("hooks", () => {
  const hook = { path: "/usr/bin/tool", args: ["tool", "links"], env: ["A=b"], timeoutSeconds: undefined };

  it("run when all is mounted and nothing is masked yet, and are told of the bundle", () => {
    const masked = { config: config({}, { maskedPaths: ["/proc/kcore"], readonlyPaths: [] }) };
    const ops = opsOf({ ...masked, hooks: [hook, { ...hook, args: [], timeoutSeconds: 5 }] });
    expect(ops.slice(-3)).toEqual([
      {
        op: "hook",
        target: "/usr/bin/tool",
        args: ["tool", "links"],
        env: ["A=b"],
        state: expect.stringMatching(/^\{.*"id":"c1","status":"creating","bundle":"\/c\/bundle"/),
        mountPoint: "/c/bundle/rootfs",
        timeoutSeconds: 120,
      },
      expect.objectContaining({ args: ["/usr/bin/tool"], timeoutSeconds: 5 }),
      { op: "mask", target: "/proc/kcore" },
    ]);
  });

  it("find root, process and mounts in config.json", () => {
    const text = bundleConfig(buildLaunchPlan(input({ hooks: [hook] })), { a: "b" });
    expect(JSON.parse(text)).toMatchObject({
      root: { path: "rootfs", readonly: false },
      process: { args: ["/bin/true"], cwd: "/", user: { uid: 1, gid: 2, additionalGids: [2, 3] } },
      mounts: expect.arrayContaining([{ destination: "/proc", type: "proc", source: "proc" }]),
      annotations: { a: "b" },
    });
  });
});

describe("the operations of a usual container", () => {
  it("come in this order", () => {
    expect(opsOf().map(short)).toEqual([
      "proc /proc",
      "tmpfs /dev",
      "device /dev/null",
      "device /dev/zero",
      "device /dev/full",
      "device /dev/random",
      "device /dev/urandom",
      "device /dev/tty",
      "symlink /dev/ptmx",
      "symlink /dev/fd",
      "symlink /dev/stdin",
      "symlink /dev/stdout",
      "symlink /dev/stderr",
      "sysfs /sys",
      "devpts /dev/pts",
      "mqueue /dev/mqueue",
      "bind /dev/shm",
      "bind /etc/hosts",
      "bind /etc/hostname",
      "bind /etc/resolv.conf",
      "cgroup2 /sys/fs/cgroup",
      "readonly /proc/sys",
      "mask /proc/kcore",
      "mask /proc/not-there",
    ]);
  });

  it("give sysfs and the groups read-only", () => {
    const ops = opsOf();
    for (const target of ["/sys", "/sys/fs/cgroup"]) {
      expect(find(ops, target)).toMatchObject({ attributes: { readonly: true, nosuid: true } });
    }
  });

  it("let a requested mount take the place of a default one, and put it at its depth", () => {
    const mounts = [mount("/data/deep/er"), mount("/etc/hosts"), mount("/data"), mount("/dev/shm")];
    const targets = opsOf({ config: config({ mounts }) })
      .filter((op) => op.op === "bind")
      .map(({ target, source }) => `${source} ${target}`);
    expect(targets).toEqual([
      "/srv /data",
      "/p/hostname /etc/hostname",
      "/p/resolv.conf /etc/resolv.conf",
      "/srv /etc/hosts",
      "/srv /dev/shm",
      "/srv /data/deep/er",
    ]);
  });

  it("make no nodes in a /dev that is the host's", () => {
    const ops = opsOf({ config: config({ mounts: [mount("/dev", { hostPath: "/dev" })] }) });
    expect(ops.filter((op) => op.op === "device" || op.op === "symlink")).toEqual([]);
    const order = ops.map(short);
    expect(order.indexOf("bind /dev")).toBeLessThan(order.indexOf("devpts /dev/pts"));
    expect(order).not.toContain("tmpfs /dev");
  });

  it("give v1 a tmpfs with one bind a hierarchy, made read-only once it is whole", () => {
    const ops = opsOf({
      cgroupView: {
        version: 1,
        hierarchies: [
          { name: "cpu,cpuacct", source: "/sys/fs/cgroup/cpu,cpuacct/x" },
          { name: "memory", source: "/sys/fs/cgroup/memory/x" },
        ],
        links: [{ name: "cpu", to: "cpu,cpuacct" }],
      },
    });
    expect(ops.map(short).filter((text) => text.includes("/cgroup"))).toEqual([
      "tmpfs /sys/fs/cgroup",
      "bind /sys/fs/cgroup/cpu,cpuacct",
      "bind /sys/fs/cgroup/memory",
      "symlink /sys/fs/cgroup/cpu",
      "readonly /sys/fs/cgroup",
    ]);
  });
});

describe("a privileged container", () => {
  const privileged = {
    config: config({}, { privileged: true, noNewPrivileges: true }),
    sandbox: { config: { annotations: {}, privileged: true } as unknown as SandboxConfig },
  };

  it("gets writable sysfs and groups of the host, all capabilities, nothing hidden", () => {
    const plan = buildLaunchPlan(input(privileged));
    expect(find(plan.ops, "/sys")).toMatchObject({ attributes: { nosuid: true } });
    expect(find(plan.ops, "/sys")).not.toMatchObject({ attributes: { readonly: true } });
    expect(find(plan.ops, "/sys/fs/cgroup")).toMatchObject({ op: "bind", source: "/sys/fs/cgroup" });
    expect(plan.ops.filter((op) => op.op === "mask" || op.op === "readonly")).toEqual([]);
    expect(plan.process.capabilities.effective).toBe(host.boundingCapabilities);
    expect(plan.namespaces.cgroup).toBe("host");
    expect(plan.process.noNewPrivileges).toBe(false);
  });

  it("needs a privileged sandbox", () => {
    expect(() => buildLaunchPlan(input({ config: privileged.config }))).toThrow("not privileged");
  });
});

describe("user namespaces", () => {
  const range = [{ containerId: 0, hostId: 100_000, length: 65_536 }];
  const userns = { uidMappings: range, gidMappings: range };
  const inUserns = (network: "POD" | "NODE", gids = range) =>
    config({}, { namespaces: { ...security.namespaces, network, userns: { ...userns, gidMappings: gids } } });

  it("bind nodes instead of making them", () => {
    const ops = opsOf({ config: inUserns("POD") });
    expect(find(ops, "/dev/null")).toMatchObject({ op: "bind", source: "/dev/null" });
    expect(short(find(ops, "/sys") as RootOp)).toBe("sysfs /sys");
  });

  it("bind the host's /sys when the network is the host's", () => {
    expect(find(opsOf({ config: inUserns("NODE") }), "/sys")).toMatchObject({
      op: "bind",
      recursiveReadOnly: true,
    });
  });

  it("leave out devpts' gid where group 5 isn't mapped", () => {
    const narrow = [{ containerId: 0, hostId: 100_000, length: 1 }];
    const optionsOf = (gids: typeof range) => {
      const op = find(opsOf({ config: inUserns("POD", gids) }), "/dev/pts");
      return op?.op === "fs" ? op.options.map(([key]) => key) : [];
    };
    expect(optionsOf(range)).toContain("gid");
    expect(optionsOf(narrow)).not.toContain("gid");
  });
});

describe("namespaces", () => {
  const namespacesOf = (own: Partial<SecurityContext>, fields: Partial<LaunchInput> = {}, annotations = {}) =>
    buildLaunchPlan(input({ config: config({ annotations }, own), ...fields })).namespaces;

  it.each([
    ["CONTAINER", "new"],
    ["POD", "pod"],
    ["NODE", "host"],
  ] as const)("pid %s is %j", (pid, expected) => {
    expect(namespacesOf({ namespaces: { network: "POD", ipc: "POD", pid } }).pid).toBe(expected);
  });

  it("join the target's PID namespace, or say that it doesn't run", () => {
    const namespaces = { network: "POD", ipc: "POD", pid: "TARGET", targetId: "t" } as const;
    expect(namespacesOf({ namespaces }, { targetPid: 77 }).pid).toEqual({ joinPid: 77 });
    expect(() => namespacesOf({ namespaces })).toThrow('target_id: container "t"');
  });

  it("share the host's name with the host's network", () => {
    expect(namespacesOf({ namespaces: { network: "NODE", ipc: "NODE", pid: "NODE" } })).toMatchObject({
      network: "host",
      uts: "host",
      ipc: "host",
    });
  });

  it("take time offsets from the annotations", () => {
    const key = "time.berth.dev/boottime-offset-seconds";
    expect(namespacesOf({}, {}, { [key]: "-60" }).time).toEqual({
      monotonicSeconds: 0n,
      boottimeSeconds: -60n,
    });
    expect(namespacesOf({}).time).toBeUndefined();
    expect(() => namespacesOf({}, {}, { [key]: "soon" })).toThrow('"soon"');
    const old = { host: { ...host, timeNamespaces: false } };
    expect(() => namespacesOf({}, old, { [key]: "1" })).toThrow("no time namespaces");
  });
});

describe("devices that were asked for", () => {
  const node = { path: "/dev/null", type: "c", major: 1, minor: 3, mode: 0o600, uid: 5, gid: 6 } as const;

  it("win over the default at the same place", () => {
    const ops = opsOf({ devices: [{ target: "/dev/null", node, access: "r" }] });
    expect(ops.filter((op) => op.target === "/dev/null")).toEqual([
      { op: "device", target: "/dev/null", type: "c", major: 1, minor: 3, mode: 0o600, uid: 5, gid: 6 },
    ]);
  });
});

describe("exec", () => {
  const exec = { containerId: "c1" as ContainerId, cgroup: { version: 2, join: ["/g"] } } as const;

  it("has the container's identity and nothing of its own", () => {
    const base = input();
    const plan = buildExecPlan({ ...base, ...exec, args: ["/bin/sh"], tty: false });
    const first = buildLaunchPlan(base).process;
    expect(plan).toEqual({ ...exec, process: { ...first, args: ["/bin/sh"] } });
  });

  it("gets a TERM with a terminal, if the container has none", () => {
    const plan = buildExecPlan({ ...input(), ...exec, args: ["sh"], tty: true });
    expect(plan.process.env).toEqual(["PATH=/bin", "TERM=xterm"]);
  });

  it.each([[[]], [[""]], [["a\0"]]])("refuses %j", (args) => {
    expect(() => buildExecPlan({ ...input(), ...exec, args, tty: false })).toThrow("cmd");
  });
});

it("refuses a masked path that is relative", () => {
  expect(() => opsOf({ config: config({}, { maskedPaths: ["proc/kcore"] }) })).toThrow("masked_paths");
});
