import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../lib/command.ts";
import { measureThroughput } from "./bench-throughput.ts";
import { executable, World } from "./world.ts";

// What the plugin costs, beside the reference set's chain in the same run:
//   node test/cni/bench.ts [--pods 1000] [--rounds 30] [--no-reference]
//   node test/cni/bench.ts --throughput [--slices 200]
// Prints a table; ends with 1 when a bar is missed. Everything happens in namespaces of its own.

const flag = (name: string): boolean => process.argv.includes(`--${name}`);
const option = (name: string, fallback: number): number => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};

const rounds = option("rounds", 30);
const pods = option("pods", 1000);
const reference = ["/usr/lib/cni/bridge", "/usr/lib/cni/portmap"];

interface Series {
  readonly wall: number;
  readonly values: readonly number[];
}

/** Milliseconds at this share of the sorted values. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

const world = await World.create();
const driver = join(world.directory, "drive");
let missed = 0;

/** Runs the verb for the pods from `first` on; every call has to succeed. */
async function drive(
  verb: string,
  first: number,
  count: number,
  parallel: number,
  plugins: readonly string[],
  config: string,
  alone = false,
): Promise<Series> {
  const file = join(world.directory, "config.json");
  await writeFile(file, config);
  const socket = alone ? "/nonexistent" : world.socket;
  const command = `BERTH_CNI_SOCKET=${socket} BERTH_CNI_RUN_DIR=${world.directory}/run ${driver} ${verb} ${first} ${count} ${parallel} ${plugins.join(" ")} < ${file}`;
  const { stdout, stderr } = await world.outcomeOf("sh", "-c", command);
  const lines = stdout.trim().split("\n");
  const rows = lines.map((line) => line.split(" "));
  const failed = rows.filter((row) => row.length === 3 && row[2] !== "0");
  if (failed.length > 0) throw new Error(`${failed.length} of ${count} ${verb} failed: ${stderr}`);
  const wall = Number(rows.find(([name]) => name === "wall")?.[1]) / 1000;
  return { wall, values: rows.filter((row) => row.length === 3).map((row) => Number(row[1]) / 1000) };
}

const ms = (value: number): string => value.toFixed(value < 10 ? 2 : 1).padStart(8);

function report(name: string, value: number, bar?: number, unit = "ms"): void {
  const verdict =
    bar === undefined ? "" : value <= bar ? `  ok   (at most ${bar})` : `  MISS (at most ${bar})`;
  if (bar !== undefined && value > bar) missed += 1;
  console.log(`${name.padEnd(52)}${ms(value)} ${unit}${verdict}`);
}

function reportAtLeast(name: string, value: number, bar: number | undefined, unit = "x"): void {
  const short = bar !== undefined && value < bar;
  if (short) missed += 1;
  const verdict = bar === undefined ? "" : `${short ? "  MISS" : "  ok  "} (at least ${bar})`;
  console.log(`${name.padEnd(52)}${ms(value)} ${unit}${verdict}`);
}

const portMappings =
  '"runtimeConfig":{"portMappings":[{"hostPort":@PORT@,"containerPort":80,"protocol":"tcp"}]}';

function ours(): string {
  const config = JSON.stringify({ ...world.config(), cniVersion: "1.0.0" });
  return `${config.slice(0, -1)},${portMappings}}`;
}

function theirs(): string {
  const ipam = {
    type: "host-local",
    dataDir: join(world.directory, "ref"),
    ranges: [[{ subnet: "10.99.0.0/16" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const config = {
    cniVersion: "1.0.0",
    name: "ref",
    type: "bridge",
    bridge: "brref",
    isGateway: true,
    ipMasq: true,
    hairpinMode: true,
    ipam,
  };
  return `${JSON.stringify(config).slice(0, -1)},${portMappings}}`;
}

async function addNetns(first: number, count: number): Promise<void> {
  const script = `for i in $(seq ${first} ${first + count - 1}); do ip netns add pod$i; done`;
  await world.run("sh", "-c", script);
}

async function withServer(): Promise<void> {
  const plugin = [executable];
  await drive("ADD", 0, rounds, 1, plugin, ours());
  await drive("DEL", 0, rounds, 1, plugin, ours());
  // Namespaces of its own: our links end a little after the answer.
  await addNetns(500, rounds);
  const adds: number[] = [];
  const dels: number[] = [];
  const refAdds: number[] = [];
  const refDels: number[] = [];
  // A few of each in turn, so that both meet the same weather.
  for (let at = 0; at < rounds; at += 5) {
    adds.push(...(await drive("ADD", at, 5, 1, plugin, ours())).values);
    dels.push(...(await drive("DEL", at, 5, 1, plugin, ours())).values);
    if (flag("no-reference")) continue;
    refAdds.push(...(await drive("ADD", 500 + at, 5, 1, reference, theirs())).values);
    refDels.push(...(await drive("DEL", 500 + at, 5, 1, reference.toReversed(), theirs())).values);
  }
  report("ADD, one host port, p50", quantile(adds, 0.5), 4);
  report("ADD, one host port, p95", quantile(adds, 0.95));
  report("DEL, p50", quantile(dels, 0.5), 3);
  report("DEL, p95", quantile(dels, 0.95));
  if (refAdds.length === 0) return;
  report("reference chain: ADD, p50", quantile(refAdds, 0.5));
  report("reference chain: DEL, p50", quantile(refDels, 0.5));
  reportAtLeast("ADD: times faster", quantile(refAdds, 0.5) / quantile(adds, 0.5), 15);
  reportAtLeast("DEL: times faster", quantile(refDels, 0.5) / quantile(dels, 0.5), 40);
}

async function inParallel(): Promise<void> {
  const walls = { add: [] as number[], del: [] as number[] };
  for (let round = 0; round < 3; round++) {
    walls.add.push((await drive("ADD", 0, 30, 30, [executable], ours())).wall);
    walls.del.push((await drive("DEL", 0, 30, 30, [executable], ours())).wall);
  }
  report("30 ADD at once, wall", quantile(walls.add, 0.5), 150);
  report("30 DEL at once, wall", quantile(walls.del, 0.5), 120);
}

async function manyPods(): Promise<void> {
  const first = 1000;
  await addNetns(first, pods);
  const few = await drive("ADD", first, rounds, 1, [executable], ours());
  await drive("ADD", first + rounds, pods - 2 * rounds, 1, [executable], ours());
  const many = await drive("ADD", first + pods - rounds, rounds, 1, [executable], ours());
  const growth = quantile(many.values, 0.5) - quantile(few.values, 0.5);
  report(`ADD with ${pods} pods: more than with none, p50`, growth, 2);
  const rules = await world.run("nft", "list", "table", "inet", "berth");
  const chains = await world.run(
    "sh",
    "-c",
    "nft list table inet berth | sed -n '/chain/,$p' | grep -c -- '[a-z]'",
  );
  const elements = (await world.hostPorts()).length;
  report("elements per pod", elements / pods, 1, "  ");
  console.log(`  lines of all chains: ${chains.trim()}; of the table: ${rules.split("\n").length}`);
  const gone = await drive("DEL", first, pods, 8, [executable], ours());
  report(`${pods} DEL, 8 at once: each, p50`, quantile(gone.values, 0.5));
}

async function alone(): Promise<void> {
  await drive("ADD", 0, 2, 1, [executable], ours(), true);
  await drive("DEL", 0, 2, 1, [executable], ours(), true);
  const add = await drive("ADD", 0, 15, 1, [executable], ours(), true);
  const del = await drive("DEL", 0, 15, 1, [executable], ours(), true);
  report("no server: ADD, p50", quantile(add.values, 0.5), 60);
  report("no server: DEL, p50", quantile(del.values, 0.5), 60);
}

try {
  await run("cc", ["-O2", "-pthread", "-o", driver, join(import.meta.dirname, "drive.c")]);
  await addNetns(0, Math.max(rounds, 30));
  await world.startServer();
  console.log(`load average: ${(await readFile("/proc/loadavg", "utf8")).split(" ").slice(0, 3).join(" ")}`);
  if (flag("throughput")) {
    await measureThroughput(world, option("slices", 200), (name, value, bar) =>
      reportAtLeast(name, value, bar, "%"),
    );
  } else {
    await withServer();
    await inParallel();
    if (pods > 0) await manyPods();
    await alone();
  }
  const left = await world.leftovers();
  if (left.length > 0) throw new Error(`left: ${left.join(", ")}`);
} finally {
  await world.close();
}
if (missed > 0) process.exitCode = 1;
