import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Berthd } from "./berthd.ts";
import { run } from "./command.ts";
import { eventually } from "./eventually.ts";

/** Everything that a server and its pods hold, one thing a line, each kind with a word in front. */
export type Footprint = ReadonlySet<string>;

function ignoreMissing<T>(read: () => T, fallback: T): T {
  try {
    return read();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ESRCH" || code === "EINVAL") return fallback;
    throw error;
  }
}

function mounts(): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trim().split("\n");
  return lines.map((line) => `mount ${line.split(" ")[4]}`);
}

function processes(): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const words = ignoreMissing(() => readFileSync(`/proc/${pid}/cmdline`, "utf8"), "");
    if (words !== "") found.push(`process ${pid} ${words.split("\0").join(" ").trim()}`);
  }
  return found;
}

/** Paths below a directory; what goes away meanwhile is left out. */
function below(dir: string): string[] {
  const entries = ignoreMissing(() => readdirSync(dir, { withFileTypes: true }), []);
  return entries.flatMap((entry) => {
    const path = join(dir, entry.name);
    return entry.isDirectory() ? [path, ...below(path)] : [path];
  });
}

function tree(kind: string, dir: string, keep: (path: string) => boolean): string[] {
  return below(dir)
    .filter(keep)
    .map((path) => `${kind} ${path}`);
}

/** Directories of the tests' own part of each hierarchy. */
function cgroups(): string[] {
  const own = process.env.BERTH_TEST_CGROUP ?? "/berth-test";
  const hierarchies = ["", ...ignoreMissing(() => readdirSync("/sys/fs/cgroup"), [])];
  return hierarchies.flatMap((name) =>
    tree("cgroup", join("/sys/fs/cgroup", name, own), (path) =>
      ignoreMissing(() => statSync(path).isDirectory(), false),
    ),
  );
}

async function network(): Promise<string[]> {
  const links = (await run("ip", ["-o", "link"])).trim().split("\n");
  const addresses = (await run("ip", ["-o", "address"])).trim().split("\n");
  const rules = await run("nft", ["-s", "list", "ruleset"]);
  return [
    ...links.map((line) => `link ${line.split(": ")[1]?.replace(/@.*/, "")}`),
    ...addresses.map((line) => `address ${line.split(/\s+/)[1]} ${line.split(/\s+/)[3]}`),
    ...rules.split("\n").map((line) => `nft ${line.trim()}`),
  ];
}

/** The CNI plugin's locks stay open once taken, and for each network it has one file ready for the next lease. */
const pluginsLock = /^\/run\/berth\/cni\/.*\.lock$/;
const pluginsNextLease = /\/networks\/[^/]+\/#N \(deleted\)$/;

/** What the server has open: everything but anonymous inodes and sockets is named. */
function descriptors(pid: number): string[] {
  const dir = `/proc/${pid}/fd`;
  const targets = ignoreMissing(() => readdirSync(dir), [])
    .map((fd) => ignoreMissing(() => readlinkSync(join(dir, fd)), "gone"))
    .map((target) => target.replace(/\d+/g, "N"))
    .filter((target) => !pluginsLock.test(target))
    .filter((target, index, all) => !pluginsNextLease.test(target) || all.indexOf(target) < index)
    .sort();
  return targets.map(
    (target, index) => `fd ${target} ${targets.slice(0, index).filter((other) => other === target).length}`,
  );
}

/** Logs, images and compiled filters are meant to stay; the journal and the place of the next address are rewritten at will. */
const lasting =
  /\/(logs|berthd\.log|blobs|layers|images|seccomp)(\/|$)|\/(records|journal|last_reserved_ip)[^/]*$/;

/** Namespace sets that a server keeps ready unless it is told otherwise. */
const poolSize = 4;

/** What there is now, with the server's pool full: what it makes ahead is not to be taken for something left. */
export async function footprint(server: Berthd): Promise<Footprint> {
  await eventually(() => {
    const ready = processes().filter((line) => line.includes("(ready)")).length;
    if (ready < poolSize) throw new Error(`${ready} of ${poolSize} monitors are ready for new pods`);
  });
  return new Set([
    ...mounts(),
    // The server keeps a few monitors ready for the pods to come.
    ...processes().filter((line) => !/ (nft|ip) |\(ready\)/.test(`${line} `)),
    ...cgroups(),
    ...(await network()),
    ...descriptors(server.pid),
    ...tree("file", server.dir, (path) => !lasting.test(path.slice(server.dir.length))),
  ]);
}

/** What a server has of its own whatever it does: other descriptors and helpers after a restart, a socket more after its first pod. */
export function isServersOwn(thing: string): boolean {
  return /^fd |^process \d+ .*(berthd\.js|berth-launcher|berth-unpack)/.test(thing);
}

/** Waits until nothing is there that was not there before; throws with the list of what is. Deletion behind an answer counts as in time. */
export async function expectNothingLeft(
  server: Berthd,
  before: Footprint,
  milliseconds = 5000,
): Promise<void> {
  await eventually(async () => {
    const left = [...(await footprint(server))].filter((thing) => !before.has(thing));
    if (left.length > 0) throw new Error(`left behind:\n${left.slice(0, 60).join("\n")}`);
  }, milliseconds);
}
