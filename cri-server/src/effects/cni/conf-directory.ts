import { type FSWatcher, watch } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import type { ConfigDirectory, ConfigFile } from "../../ports/cni.ts";
import type { Logger } from "../../ports/logger.ts";

const extensions = new Set([".conf", ".conflist", ".json"]);
const debounceMs = 100;
/** For what inotify doesn't tell: a directory that appears under a parent that didn't exist, a remount. */
const rescanMs = 30_000;
const maxBytes = 1 << 20;

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") {
      return [];
    }
    throw error;
  }
}

/**
 * Watches the directory itself, its parent (it may be removed and made again) and its subdirectories. Every event
 * counts, whatever its kind: tools replace configurations by rename, truncation or remount.
 */
export function openConfDirectory(path: string, log: Logger): ConfigDirectory {
  const watchers = new Map<string, FSWatcher>();
  let listener: (() => void) | undefined;
  let debounce: NodeJS.Timeout | undefined;
  let rescan: NodeJS.Timeout | undefined;
  let subdirectories: readonly string[] = [];
  let closed = false;

  async function readConfigs(
    directory: string,
    wanted: (extension: string) => boolean,
  ): Promise<ConfigFile[]> {
    const files: ConfigFile[] = [];
    for (const name of (await namesIn(directory)).filter((entry) => wanted(extname(entry)))) {
      const file = join(directory, name);
      try {
        const facts = await stat(file);
        if (facts.isFile() && facts.size <= maxBytes) {
          files.push({ name, path: file, text: await readFile(file, "utf8") });
        }
      } catch (error) {
        log.warn({ err: error, path: file }, "a CNI configuration file can't be read");
      }
    }
    return files;
  }

  function drop(target: string): void {
    watchers.get(target)?.close();
    watchers.delete(target);
  }

  function add(target: string): void {
    try {
      const watcher = watch(target, { persistent: false }, changed);
      watcher.on("error", (error) => {
        log.debug({ err: error, path: target }, "watch ended");
        drop(target);
      });
      watchers.set(target, watcher);
    } catch (error) {
      // It may not exist yet; then its parent tells when it does. Watches may be used up; then the rescan has to do.
      log.debug({ err: error, path: target }, "can't watch");
    }
  }

  /** A watch follows the inode, not the name: all are made anew after every change. */
  function rearm(): void {
    for (const target of watchers.keys()) {
      drop(target);
    }
    if (!closed && listener !== undefined) {
      for (const target of [dirname(path), path, ...subdirectories]) {
        add(target);
      }
    }
  }

  function changed(): void {
    clearTimeout(debounce);
    debounce = setTimeout(notify, debounceMs);
    debounce.unref();
  }

  function notify(): void {
    if (closed) {
      return;
    }
    rearm();
    clearTimeout(rescan);
    rescan = setTimeout(notify, rescanMs);
    rescan.unref();
    listener?.();
  }

  return {
    path,
    read: () => readConfigs(path, (extension) => extensions.has(extension)),
    async readFragments(name) {
      const directory = join(path, name);
      if (!subdirectories.includes(directory)) {
        subdirectories = [directory];
        rearm();
      }
      return await readConfigs(directory, (extension) => extension === ".conf");
    },
    watch(callback) {
      listener = callback;
      rearm();
      rescan = setTimeout(notify, rescanMs);
      rescan.unref();
    },
    close() {
      closed = true;
      clearTimeout(debounce);
      clearTimeout(rescan);
      rearm();
    },
  };
}
