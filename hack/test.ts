import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync, mkdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { leftovers, runMark } from "./rules/leftovers.ts";
import { cache, type Part, parts, results, vitest } from "./rules/test-parts.ts";
import { type Counts, countsOf, failuresList, table, total } from "./rules/test-report.ts";

const root = dirname(import.meta.dirname);

/** What runs now. */
const children = new Set<ChildProcess>();

/** Whoever ends the run ends what it has started: second kernels are process groups of their own. */
async function endAll(signal: NodeJS.Signals): Promise<never> {
  const ends = [...children].map((child) => once(child, "exit"));
  for (const child of children) child.kill(signal);
  await Promise.all(ends);
  process.exit(1);
}

/** Whether a command succeeds within its time; it writes to the file of this descriptor, or where this process does. */
async function finish(
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  milliseconds: number,
  output: number | "inherit",
): Promise<boolean> {
  const [file = "", ...args] = words;
  const child = spawn(file, args, { cwd: root, stdio: ["ignore", output, output], env });
  children.add(child);
  const timer = setTimeout(() => child.kill("SIGTERM"), milliseconds);
  const hard = setTimeout(() => child.kill("SIGKILL"), milliseconds + 20_000);
  const [code] = (await once(child, "exit")) as [number | null];
  children.delete(child);
  clearTimeout(timer);
  clearTimeout(hard);
  return code === 0;
}

/** Runs one part: all of its commands within its minutes. */
async function runPart(part: Part, output: number | "inherit"): Promise<Counts> {
  const start = performance.now();
  const env = { ...process.env, [runMark]: String(process.pid), ...part.env };
  const left = (): number => Math.max(part.minutes * 60_000 - (performance.now() - start), 1000);
  let ok =
    part.needs === undefined || (await finish(["hack/setup", ...part.needs.split(" ")], env, left(), output));
  for (const command of part.commands) ok = (await finish(command, env, left(), output)) && ok;
  return countsOf(results, part.name, ok, (performance.now() - start) / 1000);
}

function chosen(words: readonly string[]): readonly Part[] {
  if (words.length === 0) return parts.filter((part) => part.slow === undefined);
  if (words.includes("--all")) {
    process.env.BERTH_TEST_LONG = "1";
    return parts;
  }
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

/** Runs a part unless it doesn't fit into the run's minutes: one that has started is cut at their end. */
async function runWithin(part: Part, minutes: number, output: number | "inherit"): Promise<Counts> {
  const left = minutes - performance.now() / 60_000;
  const takes = minutesOf(part);
  // Half as much again, as one that has started is cut when the run's minutes are over.
  if (left < takes * 1.5) {
    console.error(`\n== ${part.name}: skipped, ${left.toFixed(0)} minutes are left and it takes ${takes}`);
    return { name: part.name, passed: 0, failed: 0, skipped: 1, seconds: 0, failures: [] };
  }
  return runPart({ ...part, minutes: Math.max(Math.min(part.minutes, left), 0.1) }, output);
}

function title(name: string): void {
  console.error(`\n\x1b[1m== ${name}\x1b[0m`);
}

/** Takes parts from the list until none is left, and shows what each wrote when it has ended. */
async function drain(waiting: Part[], minutes: number): Promise<readonly Counts[]> {
  const rows: Counts[] = [];
  for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
    console.error(`\n== ${part.name}: begins, beside others`);
    const log = join(results, `${part.name}.log`);
    const output = await open(log, "a");
    rows.push(await runWithin(part, minutes, output.fd));
    await output.close();
    title(part.name);
    await pipeline(createReadStream(log), process.stderr, { end: false });
  }
  return rows;
}

/** Parts that follow each other and share the machine, together; each of the others by itself. */
function groupsOf(wanted: readonly Part[]): Part[][] {
  const groups: Part[][] = [];
  for (const part of wanted) {
    const last = groups.at(-1);
    if (part.sharesMachine && last?.[0]?.sharesMachine) last.push(part);
    else groups.push([part]);
  }
  return groups;
}

async function runParts(wanted: readonly Part[], minutes: number): Promise<readonly Counts[]> {
  const rows: Counts[] = [];
  const build: Part = { name: "build", minutes: 10, commands: [["hack/build"]] };
  for (const group of groupsOf([build, ...wanted])) {
    const [first] = group;
    if (first !== undefined && group.length === 1) {
      title(first.name);
      rows.push(await runWithin(first, minutes, "inherit"));
    } else {
      const lanes = await Promise.all([drain(group, minutes), drain(group, minutes)]);
      rows.push(...lanes.flat());
    }
  }
  return rows;
}

async function main(): Promise<void> {
  mkdirSync(results, { recursive: true });
  const before = leftovers(String(process.pid));
  const { minutes, rest } = budget(process.argv.slice(2));
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, endAll);
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
