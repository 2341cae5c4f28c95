import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { ProjectUsage } from "../../ports/project-quota.ts";
import type { KernelProjectQuota } from "../kernel/project-quota.ts";

/**
 * Far from where people (/etc/projid), the kubelet (1048577 and up) and other runtimes (small numbers) take theirs. An id
 * in use by anybody is passed over all the same.
 */
export const projectRange = { first: 0x42000000, last: 0x4fffffff } as const;

/**
 * The projects of writable layers. Which layer has which is written in one place only: on the layer's directory, where the
 * file system keeps it as durably as the directory itself. So nothing has to agree with anything after a crash; what is
 * in memory is read from there at the start.
 */
export class LayerProjects {
  readonly #quota: KernelProjectQuota;
  readonly #byDirectory = new Map<string, number>();
  readonly #taken = new Set<number>();
  /** None below is free: low ids are taken again, as the table of an xfs grows with the highest and never shrinks. */
  #next: number = projectRange.first;

  private constructor(quota: KernelProjectQuota) {
    this.#quota = quota;
  }

  /** Reads what the layers in `parent` have, and frees what those have left that are gone. */
  static async open(quota: KernelProjectQuota, parent: string): Promise<LayerProjects> {
    const projects = new LayerProjects(quota);
    if (quota.state.accounts) {
      for (const name of await readdir(parent)) {
        const directory = join(parent, name);
        const id = await quota.projectOf(directory);
        if (id >= projectRange.first && id <= projectRange.last) {
          projects.#remember(directory, id);
        }
      }
      await projects.#freeAbandoned();
    }
    return projects;
  }

  get canLimit(): boolean {
    return this.#quota.state.enforces;
  }

  #remember(directory: string, id: number): void {
    this.#byDirectory.set(directory, id);
    this.#taken.add(id);
  }

  /** A limit without a file below it: its layer was removed, and then the server died. */
  async #freeAbandoned(): Promise<void> {
    for (let id: number = projectRange.first; id <= projectRange.last; id++) {
      const found = await this.#quota.next(id);
      if (found === undefined || found.id > projectRange.last) {
        return;
      }
      ({ id } = found);
      if (found.usage.inodes === 0n && found.usage.limitBytes > 0n && !this.#taken.has(id)) {
        await this.#quota.setLimit(id, 0n);
      }
    }
  }

  /**
   * Makes a new layer's empty directory a project of its own: its files are counted by the kernel, and with `limitBytes`
   * above 0 no more of them than that can be written. Without quota in the file system nothing happens, but a limit is refused.
   */
  async claim(directory: string, limitBytes: bigint): Promise<void> {
    if (limitBytes > 0n && !this.canLimit) {
      throw new BerthError("unimplemented", noQuota("the writable layer can't be limited"));
    }
    if (!this.#quota.state.accounts) {
      return;
    }
    const id = await this.#freeId();
    try {
      await this.#quota.setProject(directory, id);
      if (limitBytes > 0n) {
        await this.#quota.setLimit(id, limitBytes);
      }
      this.#byDirectory.set(directory, id);
    } catch (error) {
      this.#taken.delete(id);
      this.#next = Math.min(this.#next, id);
      throw error;
    }
  }

  /** Taken when resolved. */
  async #freeId(): Promise<number> {
    while (this.#next <= projectRange.last) {
      const id = this.#next;
      this.#next += 1;
      if (this.#taken.has(id)) {
        continue;
      }
      this.#taken.add(id);
      const { inodes, limitBytes } = await this.#quota.usage(id);
      if (inodes === 0n && limitBytes === 0n) {
        return id;
      }
      // Another's, or of files that the file system is still removing.
      this.#taken.delete(id);
    }
    throw new BerthError("resource-exhausted", "no project id is free for a writable layer");
  }

  /** Gives a removed layer's project back. Repeatable. */
  async release(directory: string): Promise<void> {
    const id = this.#byDirectory.get(directory);
    if (id === undefined) {
      return;
    }
    if ((await this.#quota.usage(id)).limitBytes > 0n) {
      await this.#quota.setLimit(id, 0n);
    }
    this.#byDirectory.delete(directory);
    this.#taken.delete(id);
    this.#next = Math.min(this.#next, id);
  }

  /** What a layer takes, at the cost of one system call; undefined when nobody counts it. */
  async usage(directory: string): Promise<ProjectUsage | undefined> {
    const id = this.#byDirectory.get(directory);
    return id === undefined ? undefined : await this.#quota.usage(id);
  }

  async close(): Promise<void> {
    await this.#quota.close();
  }
}

/** What is missing for a limit, and how to have it. */
export function noQuota(what: string): string {
  return `${what}: the file system of the root directory has no project quota (mount it with prjquota; ext4 needs the features quota and project, and the kernel CONFIG_QFMT_V2 or CONFIG_XFS_QUOTA)`;
}
