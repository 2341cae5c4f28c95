import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPlugin } from "../../cni-plugin/src/resident/plugin.ts";
import { outcomeOf, run } from "../lib/command.ts";
import type { Suite } from "./reference-suites.ts";
import { buildSuites, cache, suites, suitesFolder } from "./reference-suites.ts";
import { executable } from "./world.ts";

// The reference plugins' own test suites, as far as they start programs: first with the reference plugins, then with this
// plugin under their names. What passes there has to pass here, but for what reference-expectations.json excuses, and
// every spec has to be in that file.
//
//   node test/cni/reference.ts --build         needs Go and its module proxy
//   hack/isolated node test/cni/reference.ts [--report FILE] [SUITE…]

/** By suite and spec: "passed", or why this plugin can't pass it. */
type Expectations = Readonly<Record<string, Readonly<Record<string, string>>>>;

interface Spec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeText: string;
  readonly LeafNodeType: string;
  readonly State: string;
}

const names = ["bridge", "host-local", "portmap", "bandwidth", "loopback"];
const reference = "/usr/lib/cni";

/** States of all specs by name. */
async function runSuite(
  suite: Suite,
  scratch: string,
  plugins: string,
): Promise<ReadonlyMap<string, string>> {
  // Where one of the suites looks for them, and nowhere else.
  const bin = join(suitesFolder, "bin");
  await rm(bin, { recursive: true, force: true });
  await mkdir(bin);
  for (const name of names)
    await symlink(plugins === reference ? join(reference, name) : executable, join(bin, name));
  await symlink(join(reference, "ptp"), join(bin, "ptp"));
  const report = join(scratch, "report.json");
  const focus = suite.focus === undefined ? [] : ["-ginkgo.focus", suite.focus];
  await outcomeOf(join(suitesFolder, `${suite.name}.test`), [`-ginkgo.json-report=${report}`, ...focus], {
    cwd: join(suitesFolder, suite.folder),
    env: {
      ...process.env,
      PATH: `${bin}:${join(cache, "bin")}:${process.env.PATH ?? ""}`,
      LOOPBACK: join(bin, "loopback"),
    },
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

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  readonly failures: string[];
}

type Kind = "passed" | "failed" | "skipped";

/** What a spec's state amounts to, and words about it unless it simply passed. */
function judge(
  state: string | undefined,
  theirs: string | undefined,
  expected: string | undefined,
): readonly [Kind, string] {
  if (expected === undefined) return ["failed", `${state}, and is not in reference-expectations.json`];
  if (state === undefined) return ["failed", "was not run"];
  if (state === "passed") {
    return expected === "passed" ? ["passed", ""] : ["failed", `passes, and was excused: ${expected}`];
  }
  if (expected !== "passed") return ["skipped", expected];
  return theirs === "passed" ? ["failed", state] : ["skipped", "the reference fails on this kernel too"];
}

async function compare(suite: Suite, scratch: string, expected: Expectations, tally: Tally): Promise<void> {
  const theirs = await runSuite(suite, scratch, reference);
  const ours = await runSuite(suite, scratch, executable);
  const wanted = expected[suite.name] ?? {};
  for (const name of new Set([...Object.keys(wanted), ...ours.keys()])) {
    const [kind, words] = judge(ours.get(name), theirs.get(name), wanted[name]);
    tally[kind] += 1;
    const line = `${suite.name}: ${name}: ${words}`;
    if (words !== "") console.log(`  ${kind} ${line}`);
    if (kind === "failed") tally.failures.push(line);
  }
  const passed = (states: ReadonlyMap<string, string>): number =>
    [...states.values()].filter((state) => state === "passed").length;
  console.log(
    `${suite.name}: ${passed(ours)} of ${ours.size} pass, of the reference plugins ${passed(theirs)}`,
  );
}

async function runAll(words: readonly string[], reportFile: string | undefined): Promise<void> {
  const expectationsFile = join(import.meta.dirname, "reference-expectations.json");
  const expectations = JSON.parse(await readFile(expectationsFile, "utf8")) as Expectations;
  const tally: Tally = { passed: 0, failed: 0, skipped: 0, failures: [] };
  const scratch = await mkdtemp(join(tmpdir(), "berth-cni-reference-"));
  const plugin = createPlugin();
  try {
    await run("mkdir", ["-p", "/run/netns"]);
    // The suites look for the host's own address by its default route.
    await run("sh", ["-c", "ip link add ext0 type veth peer name ext1; ip addr add 192.0.2.1/24 dev ext0"]);
    await run("sh", ["-c", "ip link set ext0 up; ip link set ext1 up; ip route add default via 192.0.2.2"]);
    await plugin.serve("/run/berth/cni.sock");
    for (const suite of suites) {
      if (words.length > 0 && !words.includes(suite.name)) continue;
      await compare(suite, scratch, expectations, tally);
    }
  } finally {
    await plugin.close();
    // The suites leave their namespaces to the end of the machine.
    await outcomeOf("sh", [
      "-c",
      "umount /run/netns/* /run/netns; rm -rf /run/berth /run/netns /tmp/foo /tmp/bar",
    ]);
    await outcomeOf("sh", ["-c", "ip link delete ext0; nft flush ruleset"]);
    for (const folder of [scratch, join(suitesFolder, "bin")])
      await rm(folder, { recursive: true, force: true });
  }
  console.log(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} excused`);
  if (reportFile !== undefined) await writeFile(reportFile, JSON.stringify(tally));
  if (tally.failed > 0 || tally.passed === 0) process.exitCode = 1;
}

const words = process.argv.slice(2);
const reportAt = words.indexOf("--report");
const [, reportFile] = reportAt < 0 ? [] : words.splice(reportAt, 2);
await (words[0] === "--build" ? buildSuites() : runAll(words, reportFile));
