import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { CriClient } from "../lib/cri-client.ts";
import { registryAddress, startRegistry } from "../lib/registry.ts";
import { Containerd } from "./containerd.ts";

/**
 * Pulls a large image of five layers and a small one with Berth and with Debian's containerd, turn by turn, and prints wall
 * time and CPU time of everything that each of them starts.
 *
 *   hack/isolated node test/bench/pull.ts [rounds]
 */
const rounds = Number(process.argv[2] ?? 5);
const large = `${registryAddress}/bench/large:latest`;
const small = `${registryAddress}/e2e-test-images/busybox:1.29-2`;
const smallPulls = 8;

/** A group that only counts. */
class CpuCounter {
  readonly #dir: string;
  readonly #v1: boolean;

  constructor(name: string) {
    this.#v1 = existsSync("/sys/fs/cgroup/cpuacct");
    const top = this.#v1 ? "/sys/fs/cgroup/cpuacct" : "/sys/fs/cgroup";
    this.#dir = join(top, process.env.BERTH_TEST_CGROUP ?? "", `bench-${name}`);
    mkdirSync(this.#dir, { recursive: true });
  }

  /** What `start` starts is counted, with all that it starts in turn. */
  async around<T>(start: () => Promise<T>): Promise<T> {
    const own = join(this.#dir, "..", "cgroup.procs");
    writeFileSync(join(this.#dir, "cgroup.procs"), String(process.pid));
    try {
      return await start();
    } finally {
      writeFileSync(own, String(process.pid));
    }
  }

  get milliseconds(): number {
    if (this.#v1) return Number(readFileSync(join(this.#dir, "cpuacct.usage"), "utf8")) / 1e6;
    return (
      Number(/usage_usec (\d+)/.exec(readFileSync(join(this.#dir, "cpu.stat"), "utf8"))?.[1] ?? 0) / 1000
    );
  }

  remove(): void {
    rmdirSync(this.#dir);
  }
}

interface Subject {
  readonly name: string;
  readonly socket: string;
  readonly client: CriClient;
  readonly cpu: CpuCounter;
  readonly wall: Record<"large" | "small" | "again" | "remove", number[]>;
  readonly cpuLarge: number[];
}

function subject(name: string, socket: string, cpu: CpuCounter): Subject {
  const wall = { large: [], small: [], again: [], remove: [] };
  return { name, socket, client: new CriClient(socket), cpu, wall, cpuLarge: [] };
}

async function timed(into: number[], work: () => Promise<unknown>): Promise<void> {
  const start = performance.now();
  await work();
  into.push(performance.now() - start);
}

const pull = ({ client }: Subject, image: string) =>
  client.image.pullImage({ image: { image } }, { deadline: 300_000 });
const remove = ({ client }: Subject, image: string) => client.image.removeImage({ image: { image } });

/** By cribench, whose client is light: what Node's own uses of two processors would be a tenth of such a pull. */
async function measureSmall({ socket, wall }: Subject): Promise<void> {
  const images = ["--image", small, "--pull-image", small, "--pulls", String(smallPulls)];
  const { stdout } = await promisify(execFile)("cribench", [
    "--endpoint",
    socket,
    "--run",
    "pull",
    ...images,
  ]);
  for (const line of stdout.trim().split("\n")) {
    const { op, wall_s: seconds } = JSON.parse(line) as { op: string; wall_s?: number };
    if (op === "PullImage" && seconds !== undefined) wall.small.push(seconds * 1000);
  }
}

async function measureLarge(one: Subject): Promise<void> {
  const { cpu, wall, cpuLarge } = one;
  const before = cpu.milliseconds;
  await timed(wall.large, () => pull(one, large));
  cpuLarge.push(cpu.milliseconds - before);
  await timed(wall.again, () => pull(one, large));
  await timed(wall.remove, () => remove(one, large));
  await sleep(1500);
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

function report(subjects: readonly Subject[]): void {
  const [own, peer] = subjects;
  if (own === undefined || peer === undefined) throw new Error("two are compared");
  console.log(
    `${"ms, median of the runs".padEnd(34)}${own.name.padStart(12)}${peer.name.padStart(12)}${"ratio".padStart(8)}`,
  );
  const rows: [string, (one: Subject) => readonly number[]][] = [
    ["large image, wall", (one) => one.wall.large],
    ["large image, CPU of all processes", (one) => one.cpuLarge],
    ["large image again", (one) => one.wall.again],
    ["large image, remove", (one) => one.wall.remove],
    ["2 MB image, wall", (one) => one.wall.small],
  ];
  for (const [title, values] of rows) {
    const [a, b] = [median(values(own)), median(values(peer))];
    const cell = (value: number) => value.toFixed(1).padStart(12);
    console.log(`${title.padEnd(34)}${cell(a)}${cell(b)}${(a / b).toFixed(2).padStart(8)}`);
  }
}

/**
 * Each has an ext4 of its own. On a common one the files that one of them removes slow the other down for minutes: ext4
 * walks over freed inodes for each new file and does not give them out again at once.
 */
async function ownFileSystem(name: string): Promise<AsyncDisposable> {
  const dir = await mkdtemp("/tmp/berth-fs-");
  const [image, mounted] = [join(dir, "image"), join(dir, name)];
  await run("truncate", ["-s", "20G", image]);
  await run("mkfs.ext4", ["-q", "-F", image]);
  await mkdir(mounted);
  await run("mount", ["-o", "loop", image, mounted]);
  await chmod(dir, 0o711);
  process.env.BERTH_TEST_TMP = mounted;
  return {
    [Symbol.asyncDispose]: async () => {
      // A process that is just ending may still be in there.
      await run("umount", ["--lazy", mounted]);
      await rm(dir, { recursive: true });
    },
  };
}

const registry = await startRegistry();
try {
  const probe = await fetch(`http://${registryAddress}/v2/bench/large/manifests/latest`);
  if (!probe.ok) execFileSync("cribench", ["--push-image", "--pull-image", large], { stdio: "ignore" });
  const counters = [new CpuCounter("berth"), new CpuCounter("containerd")] as const;
  {
    await using _ownFiles = await ownFileSystem("b");
    await using berthd = await counters[0].around(() => Berthd.start());
    await using _peerFiles = await ownFileSystem("c");
    await using containerd = await counters[1].around(() => Containerd.start([]));
    const subjects = [
      subject("Berth", berthd.socket, counters[0]),
      subject("containerd", containerd.socket, counters[1]),
    ];
    // The large image keeps the disk busy for seconds after its removal.
    for (const measure of [measureSmall, measureLarge]) {
      for (let round = 0; round < rounds; round++) {
        for (const one of round % 2 === 0 ? subjects : [...subjects].reverse()) await measure(one);
      }
    }
    report(subjects);
    for (const one of subjects) one.client.close();
  }
  await sleep(500);
  for (const counter of counters) counter.remove();
} finally {
  registry.kill();
}
