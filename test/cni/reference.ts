import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createPlugin } from "../../cni-plugin/src/resident/plugin.ts";
import { outcomeOf, run } from "../lib/command.ts";
import { executable } from "./world.ts";

// The reference plugins' own test suites, as far as they start programs: first with the reference plugins, then with this
// plugin under their names. What passes there has to pass here, but for what is listed below.
//
//   hack/isolated node test/cni/reference.ts [SUITE…]      needs Go and the modules of test/cni/tools

interface Suite {
  readonly name: string;
  readonly folder: string;
  readonly focus?: string;
  /** Specs that this plugin can't pass, by what their names contain, and why. */
  readonly excused: Readonly<Record<string, string>>;
}

const suites: readonly Suite[] = [
  { name: "loopback", folder: "plugins/main/loopback", excused: {} },
  {
    name: "portmap",
    folder: "plugins/meta/portmap",
    // All others call the reference plugin's functions in their own process.
    focus: "integration tests",
    excused: {
      "forwards a TCP port on ipv4":
        "looks for the reference plugin's own iptables chain CNI-DN-…; what it wants to know is in roles.test.ts",
    },
  },
  { name: "integration", folder: "integration", excused: {} },
];

interface Spec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeText: string;
  readonly LeafNodeType: string;
  readonly State: string;
}

const names = ["bridge", "host-local", "portmap", "bandwidth", "loopback"];
const reference = "/usr/lib/cni";

async function fetchSources(to: string): Promise<void> {
  const list = ["list", "-m", "-f", "{{.Dir}}", "github.com/containernetworking/plugins"];
  const from = (await run("go", list, { cwd: join(import.meta.dirname, "tools") })).trim();
  await cp(from, to, { recursive: true });
  await run("chmod", ["-R", "u+w", to]);
  // The module archive has half of it only.
  await rm(join(to, "vendor"), { recursive: true, force: true });
  const file = join(to, "plugins/main/loopback/loopback_suite_test.go");
  const text = await readFile(file, "utf8");
  const built = 'gexec.Build("github.com/containernetworking/plugins/plugins/main/loopback")';
  await writeFile(
    file,
    text.replace(built, 'os.Getenv("LOOPBACK"), nil').replace("import (", 'import (\n\t"os"'),
  );
}

/** States of all specs by name. */
async function runSuite(
  suite: Suite,
  sources: string,
  plugins: string,
): Promise<ReadonlyMap<string, string>> {
  const folder = join(sources, suite.folder);
  const binary = join(sources, `${suite.name}.test`);
  const env = { ...process.env, GOFLAGS: "-mod=mod -buildvcs=false" };
  await run("go", ["test", "-c", "-o", binary, "."], { cwd: folder, env, timeout: 600_000 });
  const bin = join(sources, "bin");
  await rm(bin, { recursive: true, force: true });
  await mkdir(bin);
  for (const name of names)
    await symlink(plugins === reference ? join(reference, name) : executable, join(bin, name));
  await symlink(join(reference, "ptp"), join(bin, "ptp"));
  const report = join(sources, "report.json");
  const cnitool = join(process.env.BERTH_CACHE ?? join(homedir(), ".cache/berth"), "bin");
  const focus = suite.focus === undefined ? [] : ["-ginkgo.focus", suite.focus];
  await outcomeOf(binary, [`-ginkgo.json-report=${report}`, ...focus], {
    cwd: folder,
    env: { ...env, PATH: `${bin}:${cnitool}:${process.env.PATH ?? ""}`, LOOPBACK: join(bin, "loopback") },
    timeout: 600_000,
  });
  const reports = JSON.parse(await readFile(report, "utf8")) as readonly {
    readonly SpecReports: readonly Spec[];
  }[];
  const specs = reports.flatMap((entry) => entry.SpecReports).filter((spec) => spec.LeafNodeType === "It");
  const ran = specs.filter((spec) => spec.State !== "skipped");
  return new Map(
    ran.map((spec) => [[...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(" "), spec.State]),
  );
}

async function compare(suite: Suite, sources: string): Promise<boolean> {
  const theirs = await runSuite(suite, sources, reference);
  const ours = await runSuite(suite, sources, executable);
  let failed = 0;
  let excused = 0;
  for (const [name, state] of ours) {
    if (state === "passed" || theirs.get(name) !== "passed") continue;
    const reason = Object.entries(suite.excused).find(([part]) => name.includes(part))?.[1];
    if (reason === undefined) failed += 1;
    else excused += 1;
    console.log(
      `  ${reason === undefined ? "FAILED" : "excused"}: ${name}${reason === undefined ? "" : ` (${reason})`}`,
    );
  }
  const passed = (states: ReadonlyMap<string, string>): number =>
    [...states.values()].filter((state) => state === "passed").length;
  console.log(
    `${suite.name}: ${passed(ours)} of ${ours.size} pass, ${excused} excused; reference ${passed(theirs)}`,
  );
  return failed === 0 && ours.size > 0;
}

const wanted = process.argv.slice(2);
const sources = await mkdtemp(join(tmpdir(), "berth-cni-reference-"));
const plugin = createPlugin();
try {
  await fetchSources(sources);
  await run("mkdir", ["-p", "/run/netns"]);
  // The suites look for the host's own address by its default route.
  await run("sh", ["-c", "ip link add ext0 type veth peer name ext1 && ip addr add 192.0.2.1/24 dev ext0"]);
  await run("sh", ["-c", "ip link set ext0 up && ip link set ext1 up && ip route add default via 192.0.2.2"]);
  await plugin.serve("/run/berth/cni.sock");
  for (const suite of suites) {
    if (wanted.length > 0 && !wanted.includes(suite.name)) continue;
    if (!(await compare(suite, sources))) process.exitCode = 1;
  }
} finally {
  await plugin.close();
  // The suites leave their namespaces to the end of the machine.
  await outcomeOf("sh", [
    "-c",
    "umount /run/netns/* /run/netns; rm -rf /run/berth /run/netns /tmp/foo /tmp/bar",
  ]);
  await outcomeOf("sh", ["-c", "ip link delete ext0; nft flush ruleset"]);
  await rm(sources, { recursive: true, force: true });
}
