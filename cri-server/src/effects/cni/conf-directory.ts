import { type FSWatcher, watch } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
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

/** Opens the directory; it need not exist. */
export function openConfDirectory(path: string, log: Logger): ConfigDirectory {
  return new ConfDirectory(path, log);
}

/**
 * Watches the directory itself, its parent (it may be removed and made again) and its subdirectories. Every event
 * counts, whatever its kind: tools replace configurations by rename, truncation or remount.
 */
class ConfDirectory implements ConfigDirectory {
  readonly path: string;
  readonly #log: Logger;
  readonly #watchers = new Map<string, FSWatcher>();
  #listener: (() => void) | undefined;
  #debounce: NodeJS.Timeout | undefined;
  #rescan: NodeJS.Timeout | undefined;
  #subdirectories: readonly string[] = [];
  #closed = false;

  constructor(path: string, log: Logger) {
    this.path = path;
    this.#log = log;
  }

  async read(): Promise<readonly ConfigFile[]> {
    return await this.#readConfigs(this.path, (extension) => extensions.has(extension));
  }

  async readFragments(name: string): Promise<readonly ConfigFile[]> {
    const directory = join(this.path, name);
    if (!this.#subdirectories.includes(directory)) {
      this.#subdirectories = [directory];
      this.#rearm();
    }
    return await this.#readConfigs(directory, (extension) => extension === ".conf");
  }

  watch(listener: () => void): void {
    this.#listener = listener;
    this.#rearm();
    this.#scanLater();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#debounce);
    clearTimeout(this.#rescan);
    this.#rearm();
  }

  async #readConfigs(directory: string, wanted: (extension: string) => boolean): Promise<ConfigFile[]> {
    const files: ConfigFile[] = [];
    for (const name of (await namesIn(directory)).filter((entry) => wanted(extname(entry)))) {
      const file = join(directory, name);
      try {
        const facts = await stat(file);
        if (facts.isFile() && facts.size <= maxBytes) {
          files.push({ name, path: file, text: await readFile(file, "utf8") });
        }
      } catch (error) {
        this.#log.warn({ err: error, path: file }, "a CNI configuration file can't be read");
      }
    }
    return files;
  }

  /** A watch follows the inode, not the name: all are made anew after every change. */
  #rearm(): void {
    for (const watcher of this.#watchers.values()) {
      watcher.close();
    }
    this.#watchers.clear();
    if (!this.#closed && this.#listener !== undefined) {
      for (const target of [dirname(this.path), this.path, ...this.#subdirectories]) {
        this.#add(target);
      }
    }
  }

  #add(target: string): void {
    try {
      const watcher = watch(target, { persistent: false }, (_event, name) => {
        // The parent is watched only for the directory itself; other files there (our own log, say) change all the time.
        if (target !== dirname(this.path) || name === null || name === basename(this.path)) {
          this.#changed();
        }
      });
      watcher.on("error", (error) => {
        this.#log.debug({ err: error, path: target }, "watch ended");
        watcher.close();
        this.#watchers.delete(target);
      });
      this.#watchers.set(target, watcher);
    } catch (error) {
      // It may not exist yet; then its parent tells when it does. Watches may be used up; then the rescan has to do.
      this.#log.debug({ err: error, path: target }, "can't watch");
    }
  }

  #changed(): void {
    clearTimeout(this.#debounce);
    this.#debounce = setTimeout(() => this.#notify(), debounceMs);
    this.#debounce.unref();
  }

  #scanLater(): void {
    clearTimeout(this.#rescan);
    this.#rescan = setTimeout(() => this.#notify(), rescanMs);
    this.#rescan.unref();
  }

  #notify(): void {
    if (!this.#closed) {
      this.#rearm();
      this.#scanLater();
      this.#listener?.();
    }
  }
}
