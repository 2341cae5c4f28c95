import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../ports/clock.ts";
import type { LayerUsage, LayerUsageSource } from "../../ports/layer-usage.ts";
import type { Logger } from "../../ports/logger.ts";
import type { LayerProjects } from "./layer-projects.ts";

/**
 * Figures older than this are counted anew, behind the answer. Those of a layer that nobody writes to may grow older, twice as
 * old after each count that finds the same: on a node at rest the walks are else a third of what the server does.
 */
const freshNs = 20_000_000_000n;
const longestFreshNs = 60_000_000_000n;

interface Counted {
  readonly usage: LayerUsage;
  readonly freshNs: bigint;
}

/**
 * Where the file system counts each writable layer as a project, its figures are asked for. Elsewhere layers are walked, one
 * at a time, so that a node full of containers doesn't stall on its disk: the first answer for a layer waits for its count,
 * later ones get the last count.
 */
export function createLayerUsage(clock: Clock, log: Logger, projects: LayerProjects): LayerUsageSource {
  const known = new Map<string, Counted>();
  const counting = new Map<string, Promise<LayerUsage>>();
  let turn: Promise<unknown> = Promise.resolve();

  const count = (layerDir: string): Promise<LayerUsage> => {
    const present = counting.get(layerDir);
    if (present !== undefined) {
      return present;
    }
    const run = turn
      .then(() => walk(layerDir, clock))
      .then((usage) => {
        known.set(layerDir, { usage, freshNs: nextFreshNs(known.get(layerDir), usage) });
        return usage;
      })
      .finally(() => counting.delete(layerDir));
    turn = run.catch(() => undefined);
    counting.set(layerDir, run);
    return run;
  };

  return {
    async usage(layerDir) {
      const counted = await projects.usage(layerDir);
      if (counted !== undefined) {
        const { bytes: usedBytes, inodes: usedInodes } = counted;
        return { timestamp: clock.now(), usedBytes, usedInodes, mountpoint: layerDir };
      }
      const last = known.get(layerDir);
      if (last === undefined) {
        return await count(layerDir);
      }
      if (clock.now() - last.usage.timestamp > last.freshNs) {
        count(layerDir).catch((error: unknown) => {
          log.debug({ err: error, layerDir }, "a writable layer could not be counted");
        });
      }
      return last.usage;
    },
    forget: (layerDir) => {
      known.delete(layerDir);
    },
  };
}

function nextFreshNs(before: Counted | undefined, { usedBytes, usedInodes }: LayerUsage): bigint {
  if (before?.usage.usedBytes !== usedBytes || before.usage.usedInodes !== usedInodes) return freshNs;
  const doubled = before.freshNs * 2n;
  return doubled < longestFreshNs ? doubled : longestFreshNs;
}

async function walk(layerDir: string, clock: Clock): Promise<LayerUsage> {
  let usedBytes = 0n;
  let usedInodes = 0n;
  const directories = [join(layerDir, "upper")];
  const linked = new Set<number>();
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    usedInodes += 1n;
    for (const entry of await list(directory)) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        directories.push(path);
        continue;
      }
      const stat = await statOf(path);
      if (stat === undefined || linked.has(stat.ino)) {
        continue;
      }
      if (stat.nlink > 1) {
        linked.add(stat.ino);
      }
      usedBytes += BigInt(stat.blocks) * 512n;
      usedInodes += 1n;
    }
  }
  return { timestamp: clock.now(), usedBytes, usedInodes, mountpoint: layerDir };
}

/** The container goes on writing and removing meanwhile. */
async function list(directory: string): Promise<readonly { name: string; isDirectory(): boolean }[]> {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (isGone(error)) {
      return [];
    }
    throw error;
  }
}

async function statOf(
  path: string,
): Promise<{ readonly ino: number; readonly nlink: number; readonly blocks: number } | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isGone(error)) {
      return undefined;
    }
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
