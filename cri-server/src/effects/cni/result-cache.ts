import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AttachmentCache, CachedAttachment } from "../../ports/cni.ts";
import type { Logger } from "../../ports/logger.ts";

/** libcni's own name of the format, in `kind`. */
const kind = "cniCacheV1";
/** An extra key, which other readers ignore: tells our entries from those of a runtime that shares the directory. */
const manager = "berth";

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function encode(attachment: CachedAttachment): string {
  return JSON.stringify({
    kind,
    containerId: attachment.containerId,
    config: Buffer.from(attachment.config).toString("base64"),
    ifName: attachment.ifName,
    networkName: attachment.networkName,
    netns: attachment.netns,
    cniArgs: attachment.cniArgs,
    capabilityArgs: attachment.capabilityArgs,
    ...(attachment.result === undefined ? {} : { result: attachment.result }),
    manager,
  });
}

function text(entry: Record<string, unknown>, key: string): string {
  const value = entry[key];
  return typeof value === "string" ? value : "";
}

function decode(source: string): CachedAttachment | undefined {
  const entry: unknown = JSON.parse(source);
  if (!isObject(entry) || entry.kind !== kind || text(entry, "containerId") === "") {
    return undefined;
  }
  const args: unknown[] = Array.isArray(entry.cniArgs) ? entry.cniArgs : [];
  return {
    containerId: text(entry, "containerId"),
    ifName: text(entry, "ifName"),
    networkName: text(entry, "networkName"),
    netns: text(entry, "netns"),
    config: Buffer.from(text(entry, "config"), "base64").toString("utf8"),
    cniArgs: args.flatMap((pair) =>
      Array.isArray(pair) ? [[String(pair[0]), String(pair[1])] as const] : [],
    ),
    capabilityArgs: isObject(entry.capabilityArgs) ? entry.capabilityArgs : {},
    ...(isObject(entry.result) ? { result: entry.result } : {}),
    ours: entry.manager === manager,
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** Keeps attachments below `cacheDir`, which need not exist. */
export function createResultCache(cacheDir: string, log: Logger): AttachmentCache {
  return new ResultCache(join(cacheDir, "results"), log);
}

function nameOf(network: string, containerId: string, ifName: string): string {
  return `${network}-${containerId}-${ifName}`;
}

/**
 * libcni's result cache: `<cacheDir>/results/<network>-<container>-<interface>`, one JSON object a file. A file is
 * replaced by rename, so that a killed server leaves a whole one. It is not flushed: after a power cut no namespace of
 * a pod exists any more, and plugins free what such pods held by GC or by their own reaper; an entry that can't be read
 * then counts as absent (an empty one blocked DEL for ever elsewhere: containernetworking/cni#1055).
 */
class ResultCache implements AttachmentCache {
  readonly #directory: string;
  readonly #log: Logger;
  #isSwept = false;

  constructor(directory: string, log: Logger) {
    this.#directory = directory;
    this.#log = log;
  }

  async put(attachment: CachedAttachment): Promise<void> {
    try {
      await this.#store(attachment);
    } catch (error) {
      if (!isMissing(error)) {
        throw error;
      }
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await this.#store(attachment);
    }
  }

  async find(containerId: string, networkHint: string): Promise<readonly CachedAttachment[]> {
    // The interface is eth0 for every pod of ours; anything else is found by looking through the directory.
    const likely = await this.#read(nameOf(networkHint, containerId, "eth0"));
    if (likely?.containerId === containerId) {
      return [likely];
    }
    const candidates = await this.#readAll((name) => name.includes(`-${containerId}-`));
    return candidates.filter((attachment) => attachment.containerId === containerId);
  }

  async list(): Promise<readonly CachedAttachment[]> {
    return await this.#readAll(() => true);
  }

  async remove(attachment: CachedAttachment): Promise<void> {
    await rm(this.#pathOf(attachment), { force: true });
  }

  #pathOf({ networkName, containerId, ifName }: CachedAttachment): string {
    return join(this.#directory, nameOf(networkName, containerId, ifName));
  }

  async #store(attachment: CachedAttachment): Promise<void> {
    const temporary = join(this.#directory, `.${randomBytes(8).toString("hex")}`);
    try {
      await writeFile(temporary, encode(attachment), { mode: 0o600, flag: "wx" });
      await rename(temporary, this.#pathOf(attachment));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async #read(name: string): Promise<CachedAttachment | undefined> {
    const path = join(this.#directory, name);
    try {
      return decode(await readFile(path, "utf8"));
    } catch (error) {
      if (!isMissing(error)) {
        this.#log.warn({ err: error, path }, "a cached CNI result can't be read and counts as absent");
      }
      return undefined;
    }
  }

  /**
   * A server that was killed while it wrote leaves an unfinished file. One that is being written just now may be among
   * them: put() then finds it missing and writes it again.
   */
  async #removeUnfinished(names: readonly string[]): Promise<void> {
    const unfinished = names.filter((name) => /^\.[0-9a-f]{16}$/.test(name));
    await Promise.all(unfinished.map((name) => rm(join(this.#directory, name), { force: true })));
  }

  async #readAll(wanted: (name: string) => boolean): Promise<readonly CachedAttachment[]> {
    const names = await readdir(this.#directory).catch((error: unknown) => {
      if (isMissing(error)) {
        return [];
      }
      throw error;
    });
    if (!this.#isSwept) {
      this.#isSwept = true;
      await this.#removeUnfinished(names);
    }
    const kept = names.filter((name) => !name.startsWith(".") && wanted(name));
    const found = await Promise.all(kept.map((name) => this.#read(name)));
    return found.filter((attachment) => attachment !== undefined);
  }
}
