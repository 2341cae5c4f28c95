import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { ProjectUsage, QuotaState } from "../../ports/project-quota.ts";
import { ioctl, quotactl, SystemCallError } from "./libc.ts";

/** linux/fs.h: struct fsxattr and its two calls. */
const fsGetXattr = 0x801c581f;
const fsSetXattr = 0x401c5820;
const fsxattrBytes = 28;
const at = { xflags: 0, projectId: 12 } as const;
/** What is made inside belongs to the same project. */
const projectInherit = 0x200;

/** linux/quota.h: QCMD(command, PRJQUOTA). */
const forProjects = (command: number): number => ((command << 8) | 2) >>> 0;
const getQuota = forProjects(0x800007);
const setQuota = forProjects(0x800008);
const getNextQuota = forProjects(0x800009);
/** linux/dqblk_xfs.h; the generic code answers it for ext4 too. */
const getState = forProjects(0x5805);
const accountsProjects = 1 << 4;
const enforcesProjects = 1 << 5;
/** struct if_nextdqblk: the id follows what if_dqblk has. Sizes of limits are in KiB, of usage in bytes. */
const quotaBytes = 80;
const quotaAt = { hardLimit: 0, softLimit: 8, space: 16, inodes: 40, valid: 64, id: 68 } as const;
const validBlockLimits = 1;

const noneYet: ProjectUsage = { bytes: 0n, inodes: 0n, limitBytes: 0n };
const answersNothing = new Set(["ENOENT", "ESRCH"]);

/** The projects of one file system: trees whose files are counted together, and may be limited (xfs_quota(8), ext4(5)). */
export class KernelProjectQuota {
  readonly #root: FileHandle;
  readonly state: QuotaState;

  private constructor(root: FileHandle, state: QuotaState) {
    this.#root = root;
    this.state = state;
  }

  /** Of the file system that `path` is on. */
  static async open(path: string): Promise<KernelProjectQuota> {
    const root = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      return new KernelProjectQuota(root, await stateOf(root.fd));
    } catch (error) {
      await root.close();
      throw error;
    }
  }

  async projectOf(directory: string): Promise<number> {
    return await withAttributes(directory, async (_fd, attributes) => attributes.readUInt32LE(at.projectId));
  }

  /** What is made in the directory from now on belongs to the project. */
  async setProject(directory: string, id: number): Promise<void> {
    await withAttributes(directory, async (fd, attributes) => {
      attributes.writeUInt32LE((attributes.readUInt32LE(at.xflags) | projectInherit) >>> 0, at.xflags);
      attributes.writeUInt32LE(id, at.projectId);
      await ioctl(fd, fsSetXattr, attributes, `FS_IOC_FSSETXATTR ${directory}`);
    });
  }

  /** 0 takes the limit away. */
  async setLimit(id: number, bytes: bigint): Promise<void> {
    const request = Buffer.alloc(quotaBytes);
    request.writeBigUInt64LE((bytes + 1023n) / 1024n, quotaAt.hardLimit);
    request.writeUInt32LE(validBlockLimits, quotaAt.valid);
    await quotactl(this.#root.fd, setQuota, id, request, `Q_SETQUOTA of project ${id}`);
  }

  async usage(id: number): Promise<ProjectUsage> {
    const answer = await this.#ask(getQuota, id);
    return answer === undefined ? noneYet : usageIn(answer);
  }

  /** The first project from `id` on of which the file system knows anything. */
  async next(id: number): Promise<{ readonly id: number; readonly usage: ProjectUsage } | undefined> {
    const answer = await this.#ask(getNextQuota, id);
    return answer === undefined ? undefined : { id: answer.readUInt32LE(quotaAt.id), usage: usageIn(answer) };
  }

  async #ask(command: number, id: number): Promise<Buffer | undefined> {
    const answer = Buffer.alloc(quotaBytes);
    try {
      await quotactl(this.#root.fd, command, id, answer, `of project ${id}`);
    } catch (error) {
      if (error instanceof SystemCallError && answersNothing.has(error.code)) {
        return undefined;
      }
      throw error;
    }
    return answer;
  }

  async close(): Promise<void> {
    await this.#root.close();
  }
}

/** A file system or kernel without quota is one that does nothing. */
async function stateOf(fd: number): Promise<QuotaState> {
  const answer = Buffer.alloc(128);
  try {
    await quotactl(fd, getState, 0, answer, "Q_XGETQSTAT");
  } catch (error) {
    if (error instanceof SystemCallError) {
      return { accounts: false, enforces: false };
    }
    throw error;
  }
  const flags = answer.readUInt16LE(2);
  return { accounts: (flags & accountsProjects) !== 0, enforces: (flags & enforcesProjects) !== 0 };
}

function usageIn(answer: Buffer): ProjectUsage {
  return {
    bytes: answer.readBigUInt64LE(quotaAt.space),
    inodes: answer.readBigUInt64LE(quotaAt.inodes),
    limitBytes: answer.readBigUInt64LE(quotaAt.hardLimit) * 1024n,
  };
}

async function withAttributes<T>(
  directory: string,
  work: (fd: number, attributes: Buffer) => Promise<T>,
): Promise<T> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const attributes = Buffer.alloc(fsxattrBytes);
    await ioctl(handle.fd, fsGetXattr, attributes, `FS_IOC_FSGETXATTR ${directory}`);
    return await work(handle.fd, attributes);
  } finally {
    await handle.close();
  }
}
