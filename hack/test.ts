import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { leftovers, runMark } from "./rules/leftovers.ts";
import { type Counts, countsOf, failuresList, table, total } from "./rules/test-report.ts";

const root = dirname(import.meta.dirname);
const cache = process.env.BERTH_CACHE ?? "/tmp";
/** Outside the tree, as the second kernel sees it through the host's files. */
const results = join(cache, "results", String(process.pid));

/** One row of the table: commands that run one after another, all of them, whatever the others did. */
interface Part {
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
  /** What hack/setup has to have installed, separated by spaces. */
  readonly needs?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * A run of vitest that leaves its counts where the table finds them. On a machine that others use as well, a test that
 * waits for the kernel may miss its time: it gets a second try, which the report marks as `retry x1`.
 */
function vitest(name: string, ...args: string[]): string[] {
  const report = join(results, `${name}.vitest.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  return ["vitest", "run", "--retry=1", ...reporters, ...args];
}

/** Before it is isolated, which takes the network that modules come from. */
const buildKubernetes: readonly string[] = ["hack/cluster", "build"];

/** These tests in a cluster that is made for them. */
function inCluster(name: string, ...tests: string[]): string[] {
  return ["hack/isolated", "hack/cluster", "run", ...vitest(name, "--project", "integration", ...tests)];
}

const onRealKernel = ["test/integration", "test/security", "test/failpoint"];

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

const parts: readonly Part[] = [
  {
    name: "lint",
    minutes: 3,
    commands: [["biome", "ci", "--colors=off", "--diagnostic-level=warn", "--error-on-warnings", "."]],
  },
  { name: "types", minutes: 3, commands: [["tsc", "--noEmit"]] },
  { name: "check", minutes: 2, commands: [["hack/check"]] },
  { name: "unit", minutes: 5, commands: [vitest("unit", "--project", "unit")] },
  {
    name: "native",
    minutes: 10,
    commands: [["hack/isolated", ...vitest("native", "--project", "integration", "test/native")]],
  },
  {
    name: "sanitized",
    minutes: 15,
    env: { BERTH_SANITIZED: "1" },
    commands: [
      ["make", "--no-print-directory", "-s", "-C", "native", "sanitized"],
      ["hack/isolated", ...vitest("sanitized", "--project", "integration", "test/native")],
    ],
  },
  {
    name: "cni",
    minutes: 10,
    needs: "bench",
    commands: [["hack/isolated", ...vitest("cni", "--project", "integration", "test/cni")]],
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
    commands: [["hack/conformance", "--report", join(results, "conformance.counts.json"), "-parallel", "4"]],
  },
  {
    name: "v2",
    minutes: 25,
    slow: { usualMinutes: 12 },
    needs: "vm",
    commands: [
      ["hack/vm", "run", "hack/isolated", ...vitest("v2", "--project", "integration", ...onSecondKernel)],
    ],
  },
  {
    name: "conformance-v2",
    minutes: 15,
    slow: { usualMinutes: 3 },
    needs: "conformance vm",
    env: { BERTH_NO_BUILD: "1" },
    commands: [
      [
        "hack/vm",
        "run",
        "hack/conformance",
        "--report",
        join(results, "conformance-v2.counts.json"),
        "-parallel",
        "4",
      ],
    ],
  },
  // Most of the minutes of these two are for building Kubernetes, once.
  {
    name: "kubelet",
    minutes: 20,
    slow: { usualMinutes: 2, build: { makes: "kubernetes/kubelet", minutes: 9 } },
    env: { CLUSTER_KIND: "standalone", CLUSTER_DIR: "/var/tmp/berth-kubelet" },
    commands: [buildKubernetes, inCluster("kubelet", "test/kubelet")],
  },
  // Emulated, so only what no other kernel here can do.
  {
    name: "apparmor",
    minutes: 15,
    slow: { usualMinutes: 5 },
    needs: "conformance cloud",
    env: { BERTH_NO_BUILD: "1" },
    commands: [
      [
        "hack/vm",
        "cloud",
        "hack/conformance",
        "--report",
        join(results, "apparmor.counts.json"),
        "--ginkgo.focus=AppArmor",
      ],
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
    minutes: 10,
    slow: { usualMinutes: 4 },
    needs: "vm",
    commands: [["hack/systemd", ...vitest("systemd", "--project", "integration", "test/systemd")]],
  },
  {
    name: "growth",
    minutes: 8,
    slow: { usualMinutes: 3 },
    env: { BERTH_TEST_LONG: "1" },
    commands: [
      ["hack/isolated", ...vitest("growth", "--project", "integration", "test/integration/growth.test.ts")],
    ],
  },
  {
    name: "cni-reference",
    minutes: 15,
    slow: { usualMinutes: 4 },
    needs: "bench",
    commands: [
      ["node", "test/cni/reference.ts", "--build"],
      [
        "hack/isolated",
        "node",
        "test/cni/reference.ts",
        "--report",
        join(results, "cni-reference.counts.json"),
      ],
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
  // What is different on cgroup v2, and that kubectl does what it does elsewhere.
  {
    name: "kubernetes-v2",
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
  // On the kernel that counts pressure.
  {
    name: "kubelet-v2",
    minutes: 20,
    slow: { usualMinutes: 6, build: { makes: "kubernetes/kubelet", minutes: 9 } },
    needs: "cloud",
    env: { BERTH_NO_BUILD: "1", CLUSTER_KIND: "standalone" },
    commands: [
      buildKubernetes,
      ["hack/vm", "cloud", ...inCluster("kubelet-v2", "test/kubelet/gates.test.ts")],
    ],
  },
];

async function finish(
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  milliseconds: number,
): Promise<boolean> {
  const [file = "", ...args] = words;
  const child = spawn(file, args, { cwd: root, stdio: "inherit", env });
  const timer = setTimeout(() => child.kill("SIGTERM"), milliseconds);
  const hard = setTimeout(() => child.kill("SIGKILL"), milliseconds + 20_000);
  // Whoever ends the run ends what it has started: second kernels are process groups of their own.
  const end = (signal: NodeJS.Signals): void => {
    child.once("exit", () => process.exit(1));
    child.kill(signal);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, end);
  const [code] = (await once(child, "exit")) as [number | null];
  clearTimeout(timer);
  clearTimeout(hard);
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.off(signal, end);
  return code === 0;
}

/** Runs one part: all of its commands within its minutes. */
async function runPart(part: Part): Promise<Counts> {
  const start = performance.now();
  console.error(`\n\x1b[1m== ${part.name}\x1b[0m`);
  let ok =
    part.needs === undefined ||
    spawnSync("hack/setup", part.needs.split(" "), { cwd: root, stdio: "inherit" }).status === 0;
  for (const command of part.commands) {
    const left = part.minutes * 60_000 - (performance.now() - start);
    ok =
      (await finish(
        command,
        { ...process.env, [runMark]: String(process.pid), ...part.env },
        Math.max(left, 1000),
      )) && ok;
  }
  return countsOf(results, part.name, ok, (performance.now() - start) / 1000);
}

function chosen(words: readonly string[]): readonly Part[] {
  if (words.length === 0) return parts.filter((part) => part.slow === undefined);
  if (words.includes("--all")) return parts;
  const files = words.filter((word) => existsSync(join(root, word)) && word.endsWith(".ts"));
  const picked = words
    .filter((word) => !files.includes(word))
    .map((word) => {
      const part = parts.find(({ name }) => name === word);
      if (part === undefined)
        throw new Error(`no part ${word}: there are ${parts.map(({ name }) => name).join(" ")}`);
      return part;
    });
  const unit = files.filter((file) => !file.startsWith("test/"));
  const real = files.filter((file) => file.startsWith("test/"));
  if (unit.length > 0)
    picked.push({ name: "files", minutes: 20, commands: [vitest("files", "--project", "unit", ...unit)] });
  if (real.length > 0) {
    const command = ["hack/isolated", ...vitest("files", "--project", "integration", ...real)];
    picked.push({ name: "files", minutes: 20, commands: [command] });
  }
  return picked;
}

/** `--minutes N` and the rest of the command line. */
function budget(words: readonly string[]): { readonly minutes: number; readonly rest: readonly string[] } {
  const at = words.indexOf("--minutes");
  if (at === -1) return { minutes: Number.POSITIVE_INFINITY, rest: words };
  return { minutes: Number(words[at + 1]), rest: words.toSpliced(at, 2) };
}

/** What a part usually takes here; those that always run take none. */
function minutesOf({ slow }: Part): number {
  if (slow === undefined) return 0;
  const { usualMinutes, build } = slow;
  return usualMinutes + (build === undefined || existsSync(join(cache, build.makes)) ? 0 : build.minutes);
}

/** Runs the parts within the run's minutes: one that has started is cut at the end, a slow one that can't fit is skipped. */
async function runParts(wanted: readonly Part[], minutes: number): Promise<readonly Counts[]> {
  const rows: Counts[] = [];
  for (const part of [{ name: "build", minutes: 10, commands: [["hack/build"]] }, ...wanted]) {
    const left = minutes - performance.now() / 60_000;
    const takes = minutesOf(part);
    // Half as much again, as one that has started is cut when the run's minutes are over.
    if (left < takes * 1.5) {
      console.error(`\n== ${part.name}: skipped, ${left.toFixed(0)} minutes are left and it takes ${takes}`);
      rows.push({ name: part.name, passed: 0, failed: 0, skipped: 1, seconds: 0, failures: [] });
    } else {
      rows.push(await runPart({ ...part, minutes: Math.max(Math.min(part.minutes, left), 0.1) }));
    }
  }
  return rows;
}

async function main(): Promise<void> {
  mkdirSync(results, { recursive: true });
  const before = leftovers(String(process.pid));
  const { minutes, rest } = budget(process.argv.slice(2));
  const rows = [...(await runParts(chosen(rest), minutes))];
  const left = [...leftovers(String(process.pid))]
    .filter((thing) => !before.has(thing))
    .map((thing) => `left on this machine: ${thing}`);
  rows.push({
    name: "leaks",
    passed: left.length === 0 ? 1 : 0,
    failed: left.length,
    skipped: 0,
    seconds: 0,
    failures: left,
  });
  console.log(`\n${table(rows)}\n${failuresList(rows)}`);
  const sum = total(rows);
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  rmSync(results, { recursive: true });
  process.exitCode = sum.failed === 0 ? 0 : 1;
}

await main();
