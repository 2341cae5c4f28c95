import type { ConfigDirectory, ConfigFile } from "../../ports/cni.ts";
import type { Logger } from "../../ports/logger.ts";
import { fragmentsOf, type NetworkList, parseNetworkList } from "./conflist.ts";

export interface LoadedNetwork {
  readonly file: ConfigFile;
  readonly list: NetworkList;
  readonly loadedAt: Date;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The network configuration in force: the first valid file of the directory. A file that was in force and is now
 * invalid is taken to be half written, and stays in force as it was until it is valid again or gone.
 */
export class Configuration {
  readonly #directory: ConfigDirectory;
  readonly #log: Logger;
  readonly #onChange: () => void;
  #current: LoadedNetwork | undefined;
  #problem = "the configuration directory has not been read yet";
  #scanning: Promise<void>;
  #again = false;
  /** Complaints of the last scan, so that the periodic ones don't repeat them. */
  #complaints = new Set<string>();

  constructor(directory: ConfigDirectory, log: Logger, onChange: () => void) {
    this.#directory = directory;
    this.#log = log;
    this.#onChange = onChange;
    this.#scanning = this.#scan();
    directory.watch(() => this.#rescan());
  }

  get current(): LoadedNetwork | undefined {
    return this.#current;
  }

  /** Why there is none. */
  get problem(): string {
    return this.#problem;
  }

  /** Resolves when the scan that is under way has ended. */
  async settled(): Promise<void> {
    await this.#scanning;
  }

  close(): void {
    this.#directory.close();
  }

  #rescan(): void {
    this.#again = true;
    this.#scanning = this.#scanning.then(async () => {
      if (this.#again) {
        await this.#scan();
      }
    });
  }

  async #scan(): Promise<void> {
    this.#again = false;
    try {
      await this.#load();
    } catch (error) {
      this.#log.error(
        { err: error, directory: this.#directory.path },
        "cannot read the CNI configuration directory",
      );
      if (this.#current === undefined) {
        this.#problem = reasonOf(error);
      }
    }
  }

  async #load(): Promise<void> {
    const files = await this.#directory.read();
    const refused: string[] = [];
    const complaints = new Set<string>();
    let found: LoadedNetwork | undefined;
    for (const file of files) {
      try {
        found = await this.#parse(file);
      } catch (error) {
        const reason = reasonOf(error);
        refused.push(reason);
        complaints.add(reason);
        if (!this.#complaints.has(reason)) {
          this.#log.warn({ err: error, file: file.path }, "CNI configuration skipped");
        }
        found = this.#current?.file.path === file.path ? this.#current : undefined;
      }
      if (found !== undefined) {
        break;
      }
    }
    this.#complaints = complaints;
    this.#problem =
      refused.length > 0 ? refused.join("; ") : `no CNI configuration in ${this.#directory.path}`;
    this.#replace(found);
  }

  async #parse(file: ConfigFile): Promise<LoadedNetwork> {
    const name = fragmentsOf(file);
    const fragments = name === undefined ? [] : await this.#directory.readFragments(name);
    const list = parseNetworkList(file.path, file.text, fragments);
    const same = this.#current?.file.path === file.path && this.#current.list.text === list.text;
    return same && this.#current !== undefined ? this.#current : { file, list, loadedAt: new Date() };
  }

  #replace(found: LoadedNetwork | undefined): void {
    if (found === this.#current) {
      return;
    }
    this.#current = found;
    if (found === undefined) {
      this.#log.warn({ reason: this.#problem }, "no CNI configuration is in force any more");
    } else {
      const { list, file } = found;
      const plugins = list.plugins.map((plugin) => plugin.type);
      this.#log.info(
        { network: list.name, file: file.path, cniVersion: list.cniVersion, plugins },
        "CNI configuration loaded",
      );
    }
    this.#onChange();
  }
}
