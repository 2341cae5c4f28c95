import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { removeLasting } from "../lib/lasting.ts";
import { startRegistry, stopRegistry } from "../lib/registry.ts";
import { missingNeeds } from "./kernel-needs.ts";
import { type Expectations, type Judgement, judge, patternOf } from "./spec-report.ts";
import { adaptedCritest, runSuite } from "./suite.ts";

const cache = process.env.BERTH_CACHE ?? join(homedir(), ".cache/berth");

/** Beyond that a list of what failed tells only that everything did. */
const longestList = 15;
const longestLine = 400;

function shown(differences: readonly string[]): readonly string[] {
  return differences.slice(0, longestList).map((line) => line.slice(0, longestLine));
}

interface Arguments {
  /** Where the counts of all runs are written to, as JSON. */
  readonly report: string | undefined;
  readonly runs: number;
  readonly seed: number | undefined;
  readonly critest: readonly string[];
}

function parseArguments(words: readonly string[]): Arguments {
  const rest = [...words];
  const take = (flag: string): string | undefined => {
    const at = rest.indexOf(flag);
    return at === -1 ? undefined : rest.splice(at, 2)[1];
  };
  const seed = take("--seed");
  return {
    report: take("--report"),
    runs: Number(take("--runs") ?? 1),
    seed: seed === undefined ? undefined : Number(seed),
    critest: rest,
  };
}

/** One call of critest against a server, and what is expected of it. */
interface Pass {
  readonly title: string;
  readonly flags: readonly string[];
  readonly expectations: Expectations;
  /** Whether all that is expected has to be there. */
  readonly whole: boolean;
}

/** Without a choice of the caller's the streaming specs run a second time, over WebSocket instead of SPDY. */
function passes(flags: readonly string[], expectations: Expectations): readonly Pass[] {
  if (flags.some((flag) => /focus|skip|websocket/.test(flag))) {
    return [{ title: "critest", flags, expectations, whole: false }];
  }
  const streaming = Object.entries(expectations).filter(([name]) => name.startsWith("Streaming > "));
  const webSocket = ["exec", "attach", "portforward"].map((what) => `--websocket-${what}`);
  return [
    { title: "critest", flags, expectations, whole: true },
    {
      title: "critest over WebSocket",
      flags: [...flags, "--ginkgo.focus=Streaming", ...webSocket],
      expectations: Object.fromEntries(streaming),
      whole: true,
    },
  ];
}

interface Suite {
  readonly critest: string;
  readonly folder: string;
  readonly seed: number;
  readonly missing: ReadonlySet<string>;
}

async function runPass(pass: Pass, server: Berthd, suite: Suite): Promise<Judgement> {
  const start = performance.now();
  // Specs that need what is not here would fail, but for those that look for it.
  const hopeless = Object.entries(pass.expectations).filter(([, expected]) =>
    suite.missing.has(expected.replace(/^needs /, "")),
  );
  const flags =
    hopeless.length === 0
      ? pass.flags
      : [...pass.flags, `--ginkgo.skip=${patternOf(hopeless.map(([name]) => name))}`];
  const specs = await runSuite({ ...suite, socket: server.socket, flags });
  const judgement = judge(specs, pass.expectations, suite.missing, pass.whole);
  if (specs.length === 0) return { ...judgement, failed: 1, differences: ["no spec was run"] };
  const { passed, failed, skipped } = judgement;
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  const counts = `${passed} passed, ${failed} failed, ${skipped} skipped`;
  console.log(`${pass.title}, seed ${suite.seed}: ${counts} in ${seconds} s`);
  return judgement;
}

async function runRound(planned: readonly Pass[], suite: Suite): Promise<readonly Judgement[]> {
  // The suite counts names of images: its store has to be empty at the start.
  await using server = await Berthd.start({ flags: ["--log-level", process.env.BERTH_TEST_LOG ?? "info"] });
  const judgements: Judgement[] = [];
  for (const pass of planned) judgements.push(await runPass(pass, server, suite));
  const differences = judgements.flatMap((judgement) => judgement.differences);
  for (const line of shown(differences)) console.log(line);
  if (differences.length > longestList) console.log(`and ${differences.length - longestList} more`);
  if (differences.length > 0) {
    console.log(`log: ${cache}/critest.log, server: ${cache}/berthd.log`);
    await run("cp", [join(suite.folder, "critest.log"), server.logPath, cache]);
  }
  return judgements;
}

async function runRounds(folder: string, args: Arguments): Promise<void> {
  const expectationsFile = join(import.meta.dirname, "expectations.json");
  const expectations = JSON.parse(await readFile(expectationsFile, "utf8")) as Expectations;
  const planned = passes(args.critest, expectations);
  const missing = missingNeeds();
  for (const [name, reason] of missing) {
    const specs = Object.values(expectations).filter((expected) => expected === `needs ${name}`);
    console.log(`${specs.length} spec(s) need ${name}: ${reason}`);
  }
  const critest = await adaptedCritest(join(cache, "bin/critest"), folder);
  const totals = { passed: 0, failed: 0, skipped: 0, failures: [] as string[] };
  for (let round = 0; round < args.runs; round += 1) {
    const seed = args.seed ?? Math.floor(Math.random() * 1e6);
    const suite = { critest, folder, seed, missing: new Set(missing.keys()) };
    for (const { passed, failed, skipped, differences } of await runRound(planned, suite)) {
      totals.passed += passed;
      totals.failed += failed;
      totals.skipped += skipped;
      totals.failures.push(...shown(differences));
    }
  }
  if (args.report !== undefined) await writeFile(args.report, JSON.stringify(totals));
  if (totals.failed > 0) process.exitCode = 1;
}

async function main(): Promise<void> {
  const folder = await mkdtemp("/tmp/critest-");
  const registry = await startRegistry();
  try {
    await runRounds(folder, parseArguments(process.argv.slice(2)));
  } finally {
    await stopRegistry(registry);
    await removeLasting();
    // HostIpc specs leave the segments that they made.
    await run("ipcrm", ["--all"]);
    await rm(folder, { recursive: true });
  }
}

await main();
