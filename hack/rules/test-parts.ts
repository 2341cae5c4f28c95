import { join } from "node:path";

/** Where this machine keeps what takes long to make. */
export const cache = process.env.BERTH_CACHE ?? "/tmp";
/** Outside the tree, as the second kernel sees it through the host's files. */
export const results = join(cache, "results", String(process.pid));

/** One row of the table: commands that run one after another, all of them, whatever the others did. */
export interface Part {
  readonly name: string;
  readonly commands: readonly (readonly string[])[];
  /** Minutes for all of its commands; a part that hangs is killed and has failed. */
  readonly minutes: number;
  /** Only with --all or when it is named. Skipped when less than its usual minutes are left of the run's. */
  readonly slow?: {
    readonly usualMinutes: number;
    /** What it builds the first time, a file of the cache, and how many minutes more that takes. */
    readonly build?: { readonly makes: string; readonly minutes: number };
  };
  /** It measures nothing, or on a kernel of its own: those of these that follow each other run two at a time. */
  readonly sharesMachine?: true;
  /** What hack/setup has to have installed, separated by spaces. */
  readonly needs?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * A run of vitest that leaves its counts where the table finds them. On a machine that others use as well, a test that
 * waits for the kernel may miss its time: it gets a second try, which the report marks as `retry x1`.
 */
export function vitest(name: string, ...args: string[]): string[] {
  const report = join(results, `${name}.vitest.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  return ["vitest", "run", "--retry=1", ...reporters, ...args];
}

/** A run that leaves its counts there by itself. */
function counting(name: string, ...words: string[]): string[] {
  return [...words, "--report", join(results, `${name}.counts.json`)];
}

/** Before it is isolated, which takes the network that modules come from. */
const buildKubernetes: readonly string[] = ["hack/cluster", "build"];

/** These tests in a cluster that is made for them. */
function inCluster(name: string, ...tests: string[]): string[] {
  return ["hack/isolated", "hack/cluster", "run", ...vitest(name, "--project", "integration", ...tests)];
}

const onRealKernel = ["test/integration", "test/failpoint"];

/**
 * What depends on the kernel's cgroups, namespaces and mounts. The second kernel has no tables for IP, so of the plugin's own
 * tests only those of VLANs are for it, which the host may not have; and it is slow: long streams and storms say nothing more there.
 */
const onSecondKernel = [
  "cni/vlan",
  "native/child-exec",
  "integration/bad-input",
  "integration/cdi",
  "integration/cgroups",
  "integration/container-features",
  "integration/events-and-lists",
  "integration/limits",
  "integration/logs",
  "integration/network",
  "integration/pod-run",
  "integration/restart-recovery",
  "integration/rollback",
  "integration/rpc-events",
  "integration/rpc-pod-stats",
  "integration/rpc-update-resources",
  "integration/seccomp",
  "integration/serve",
  "integration/statistics",
  "integration/writable-limit",
].map((name) => `test/${name}.test.ts`);

export const parts: readonly Part[] = [
  {
    name: "lint",
    minutes: 3,
    commands: [["biome", "ci", "--colors=off", "--diagnostic-level=warn", "--error-on-warnings", "."]],
  },
  { name: "types", minutes: 3, commands: [["tsc", "--noEmit"]] },
  { name: "check", minutes: 2, commands: [["hack/check"]] },
  { name: "unit", sharesMachine: true, minutes: 5, commands: [vitest("unit", "--project", "unit")] },
  {
    name: "native",
    sharesMachine: true,
    minutes: 10,
    commands: [["hack/isolated", ...vitest("native", "--project", "integration", "test/native")]],
  },
  {
    name: "sanitized",
    sharesMachine: true,
    minutes: 15,
    env: { BERTH_SANITIZED: "1" },
    commands: [
      ["make", "--no-print-directory", "-s", "-C", "native", "sanitized"],
      ["hack/isolated", ...vitest("sanitized", "--project", "integration", "test/native")],
    ],
  },
  {
    name: "cni",
    sharesMachine: true,
    minutes: 10,
    needs: "bench",
    commands: [["hack/isolated", ...vitest("cni", "--project", "integration", "test/cni")]],
  },
  {
    name: "security",
    sharesMachine: true,
    minutes: 10,
    commands: [["hack/isolated", ...vitest("security", "--project", "integration", "test/security")]],
  },
  {
    name: "integration",
    minutes: 20,
    needs: "bench",
    commands: [["hack/isolated", ...vitest("integration", "--project", "integration", ...onRealKernel)]],
  },
  {
    name: "conformance",
    minutes: 15,
    needs: "conformance",
    commands: [counting("conformance", "hack/conformance", "-parallel", "4")],
  },
  // Most of its minutes are for building Kubernetes, once.
  {
    name: "kubelet",
    minutes: 20,
    slow: { usualMinutes: 2, build: { makes: "kubernetes/kubelet", minutes: 9 } },
    env: { CLUSTER_KIND: "standalone", CLUSTER_DIR: "/var/tmp/berth-kubelet" },
    commands: [buildKubernetes, inCluster("kubelet", "test/kubelet")],
  },
  {
    name: "cni-reference",
    minutes: 15,
    slow: { usualMinutes: 4 },
    needs: "bench",
    commands: [
      ["node", "test/cni/reference.ts", "--build"],
      counting("cni-reference", "hack/isolated", "node", "test/cni/reference.ts"),
    ],
  },
  {
    name: "cni-crashes",
    minutes: 25,
    slow: { usualMinutes: 6 },
    env: { BERTH_CNI_CRASHES: "1000" },
    commands: [
      ["hack/isolated", ...vitest("cni-crashes", "--project", "integration", "test/cni/crash.test.ts")],
    ],
  },
  {
    name: "kubernetes",
    minutes: 40,
    slow: { usualMinutes: 8, build: { makes: "kubernetes/kube-apiserver", minutes: 15 } },
    commands: [buildKubernetes, inCluster("kubernetes", "test/kubernetes/")],
  },
  // From here on each has a kernel of its own; the longest first.
  {
    name: "v2",
    sharesMachine: true,
    minutes: 25,
    slow: { usualMinutes: 12 },
    needs: "vm",
    commands: [
      ["hack/vm", "run", "hack/isolated", ...vitest("v2", "--project", "integration", ...onSecondKernel)],
    ],
  },
  // What is different on cgroup v2, and that kubectl does what it does elsewhere.
  {
    name: "kubernetes-v2",
    sharesMachine: true,
    minutes: 20,
    slow: { usualMinutes: 6, build: { makes: "kubernetes/kube-apiserver", minutes: 15 } },
    needs: "vm",
    env: { BERTH_NO_BUILD: "1" },
    commands: [
      buildKubernetes,
      [
        "hack/vm",
        "run",
        ...inCluster("kubernetes-v2", "test/kubernetes-v2/", "test/kubernetes/kubectl.test.ts"),
      ],
    ],
  },
  // Emulated, so only what no other kernel here can do.
  {
    name: "apparmor",
    sharesMachine: true,
    minutes: 15,
    slow: { usualMinutes: 5 },
    needs: "conformance cloud",
    env: { BERTH_NO_BUILD: "1" },
    commands: [
      counting("apparmor", "hack/vm", "cloud", "hack/conformance", "--ginkgo.focus=AppArmor"),
      [
        "hack/vm",
        "cloud",
        "hack/isolated",
        // Of these kernels it is also the only one that counts pressure.
        ...vitest(
          "apparmor",
          "--project",
          "integration",
          "test/security/apparmor.test.ts",
          "test/integration/rpc-pod-stats.test.ts",
        ),
      ],
    ],
  },
  {
    name: "systemd",
    sharesMachine: true,
    minutes: 10,
    slow: { usualMinutes: 4 },
    needs: "vm",
    commands: [["hack/systemd", ...vitest("systemd", "--project", "integration", "test/systemd")]],
  },
  {
    name: "conformance-v2",
    sharesMachine: true,
    minutes: 15,
    slow: { usualMinutes: 3 },
    needs: "conformance vm",
    env: { BERTH_NO_BUILD: "1" },
    commands: [counting("conformance-v2", "hack/vm", "run", "hack/conformance", "-parallel", "4")],
  },
  // On the kernel that counts pressure, which is too slow a one for a kubelet beside which something else runs.
  {
    name: "kubelet-v2",
    minutes: 20,
    slow: { usualMinutes: 8, build: { makes: "kubernetes/kubelet", minutes: 9 } },
    needs: "cloud",
    env: { BERTH_NO_BUILD: "1", CLUSTER_KIND: "standalone" },
    commands: [
      buildKubernetes,
      ["hack/vm", "cloud", ...inCluster("kubelet-v2", "test/kubelet/gates.test.ts")],
    ],
  },
];
