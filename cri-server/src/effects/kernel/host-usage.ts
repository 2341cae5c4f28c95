import { closeSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { readFile, readlink, stat, statfs } from "node:fs/promises";
import { basename } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { Clock } from "../../ports/clock.ts";
import type { FileSystemSpace, HostUsage, ProcessUsage } from "../../ports/host-usage.ts";
import type { InterfaceUsage, NetworkUsage } from "../../ports/usage.ts";
import { errnoOf } from "./cgroup-files.ts";
import { splitDeviceNumber } from "./host-files.ts";
import { enterNetworkNamespace, readKernelFile, tryReadKernelFile } from "./libc.ts";
import { parseMountInfo } from "./mountinfo.ts";
import type { TurnQueue } from "./turn-queue.ts";

/** Figures of this machine's network namespaces, processes and file systems. */
export class KernelUsage implements HostUsage {
  readonly #clock: Clock;
  readonly #turns: TurnQueue;
  readonly #deviceNames = new Map<string, string>();

  constructor(clock: Clock, turns: TurnQueue) {
    this.#clock = clock;
    this.#turns = turns;
  }

  network(netnsPath: string): Promise<NetworkUsage> {
    return this.#turns.run(() => ({
      timestamp: this.#clock.now(),
      interfaces: ownInterfaces(parseNetDev(readNetDev(netnsPath))),
    }));
  }

  async processes(pids: readonly number[]): Promise<ProcessUsage> {
    const counts = await Promise.all(pids.map((pid) => this.#turns.run(() => descriptorsOf(pid))));
    const alive = counts.filter((count) => count !== undefined);
    const [first] = pids;
    const limits = first === undefined ? undefined : tryReadKernelFile(`/proc/${first}/limits`);
    const soft = /^Max open files\s+([0-9]+)/m.exec(limits ?? "")?.[1];
    return {
      processes: alive.length,
      fileDescriptors: alive.reduce((sum, { all }) => sum + all, 0),
      sockets: alive.reduce((sum, { sockets }) => sum + sockets, 0),
      openFilesLimit: soft === undefined ? undefined : BigInt(soft),
    };
  }

  async space(directory: string): Promise<FileSystemSpace> {
    const [space, info] = await Promise.all([
      statfs(directory, { bigint: true }),
      stat(directory, { bigint: true }),
    ]);
    const { major, minor } = splitDeviceNumber(info.dev);
    return {
      device: await this.#fileSystemName(`${major}:${minor}`),
      totalBytes: space.blocks * space.bsize,
      totalInodes: space.files,
      freeInodes: space.ffree,
    };
  }

  async blockDeviceName(device: string): Promise<string> {
    const known = this.#deviceNames.get(device);
    if (known !== undefined) return known;
    const name = await blockName(device);
    if (name !== undefined) this.#deviceNames.set(device, name);
    return name ?? device;
  }

  /** Btrfs and tmpfs have numbers of their own, which only the mount table knows. */
  async #fileSystemName(device: string): Promise<string> {
    const name = await this.blockDeviceName(device);
    if (name !== device) return name;
    const mounts = parseMountInfo(await readFile("/proc/self/mountinfo", "utf8"));
    return mounts.find((mount) => mount.device === device)?.source ?? device;
  }
}

async function blockName(device: string): Promise<string | undefined> {
  try {
    return `/dev/${basename(await readlink(`/sys/dev/block/${device}`))}`;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * There, read and back within one turn of the loop, on the main thread alone. /proc/net follows the main thread of the
 * process; the thread's own directory follows this thread wherever it runs.
 */
function readNetDev(netnsPath: string): string {
  const home = openSync("/proc/thread-self/ns/net", "r");
  try {
    const there = openSync(netnsPath, "r");
    try {
      enterNetworkNamespace(there, netnsPath);
      try {
        return readKernelFile("/proc/thread-self/net/dev");
      } finally {
        returnHome(home);
      }
    } finally {
      closeSync(there);
    }
  } catch (error) {
    if (error instanceof BerthError) throw error;
    throw new BerthError("internal", `network namespace ${netnsPath}: its counters can't be read`, {
      cause: error,
    });
  } finally {
    closeSync(home);
  }
}

function returnHome(home: number): void {
  try {
    enterNetworkNamespace(home, "the server's own");
  } catch {
    // Everything from here on would happen in a pod's network. The supervisor starts a new server.
    process.abort();
  }
}

/** The lines of /proc/net/dev: `eth0: bytes packets errs drop fifo frame compressed multicast` for receiving, then sending. */
export function parseNetDev(text: string): readonly InterfaceUsage[] {
  return text.split("\n").flatMap((line): readonly InterfaceUsage[] => {
    const colon = line.lastIndexOf(":");
    if (colon < 0) return [];
    const numbers = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(BigInt);
    const at = (index: number) => numbers[index] ?? 0n;
    return [
      {
        name: line.slice(0, colon).trim(),
        receivedBytes: at(0),
        receivedPackets: at(1),
        receiveErrors: at(2),
        receiveDropped: at(3),
        sentBytes: at(8),
        sentPackets: at(9),
        sendErrors: at(10),
        sendDropped: at(11),
      },
    ];
  });
}

/** All but the loopback, eth0 first. */
function ownInterfaces(interfaces: readonly InterfaceUsage[]): readonly InterfaceUsage[] {
  const rank = ({ name }: InterfaceUsage) => (name === "eth0" ? 0 : 1);
  return interfaces.filter(({ name }) => name !== "lo").toSorted((a, b) => rank(a) - rank(b));
}

function descriptorsOf(pid: number): { readonly all: number; readonly sockets: number } | undefined {
  const directory = `/proc/${pid}/fd`;
  try {
    const names = readdirSync(directory);
    const sockets = names.filter((name) => isSocket(`${directory}/${name}`)).length;
    return { all: names.length, sockets };
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes(errnoOf(error))) return undefined;
    throw error;
  }
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith("socket:");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes(errnoOf(error))) return false;
    throw error;
  }
}
