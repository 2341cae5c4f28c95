import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./command.ts";

const features = "quota,project";

/** Mounts a file system of 8 MB and sees. A kernel without CONFIG_QFMT_V2 does not mount one that keeps quotas. */
function probe(): boolean {
  const dir = mkdtempSync("/tmp/berth-quota-");
  try {
    const steps: readonly (readonly [string, ...string[]])[] = [
      ["truncate", "-s", "8M", join(dir, "image")],
      ["mkfs.ext4", "-q", "-F", "-O", features, join(dir, "image")],
      ["mkdir", join(dir, "disk")],
      ["mount", "-o", "loop,prjquota", join(dir, "image"), join(dir, "disk")],
      ["umount", join(dir, "disk")],
    ];
    return steps.every(([file, ...args]) => spawnSync(file, args).status === 0);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Whether this kernel has project quotas on ext4. The first one here has not; user-mode Linux has. */
export const hasProjectQuota = probe();

/** An ext4 that counts and limits projects. */
export class QuotaDisk implements AsyncDisposable {
  readonly #dir: string;
  readonly path: string;

  private constructor(dir: string) {
    this.#dir = dir;
    this.path = join(dir, "d");
  }

  static async mount(): Promise<QuotaDisk> {
    const disk = new QuotaDisk(await mkdtemp("/tmp/berth-quota-"));
    const image = join(disk.#dir, "image");
    await run("chmod", ["711", disk.#dir]);
    await run("truncate", ["-s", "1G", image]);
    await run("mkfs.ext4", ["-q", "-F", "-O", features, image]);
    await mkdir(disk.path);
    await run("mount", ["-o", "loop,prjquota", image, disk.path]);
    return disk;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", [this.path]);
    await rm(this.#dir, { recursive: true });
  }
}
