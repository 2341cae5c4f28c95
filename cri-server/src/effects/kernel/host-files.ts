import { constants } from "node:fs";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { posix } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { DeviceNode, HostFiles } from "../../ports/host.ts";
import { errnoOf } from "./cgroup-files.ts";

/** Folders of /dev that are file systems of their own, made for each container. */
const ownFileSystems: ReadonlySet<string> = new Set([
  "pts",
  "shm",
  "fd",
  "mqueue",
  "hugepages",
  ".lxc",
  ".lxd-mounts",
]);

/** The host's file tree, as the plan asks for it. */
export class LocalHostFiles implements HostFiles {
  async devices(hostPath: string): Promise<readonly DeviceNode[]> {
    const fail = (what: string, cause?: unknown): never => {
      throw new BerthError("invalid-argument", `devices.host_path: ${JSON.stringify(hostPath)} ${what}`, {
        cause,
      });
    };
    if (!hostPath.startsWith("/")) return fail("is not absolute");
    let info: Awaited<ReturnType<typeof stat>>;
    try {
      info = await stat(hostPath);
    } catch (error) {
      return fail(`can't be read (${errnoOf(error)})`, error);
    }
    const found = info.isDirectory() ? await devicesBelow(hostPath) : await deviceAt(hostPath);
    return found.length > 0 ? found : fail("is not a device and holds none");
  }

  allDevices(): Promise<readonly DeviceNode[]> {
    return devicesBelow("/dev");
  }

  async kindOf(hostPath: string): Promise<"file" | "directory" | "other" | undefined> {
    try {
      const info = await stat(hostPath);
      if (info.isDirectory()) return "directory";
      return info.isFile() ? "file" : "other";
    } catch (error) {
      if (["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"].includes(errnoOf(error))) return undefined;
      throw new BerthError("internal", `${hostPath}: stat: ${errnoOf(error)}`, { cause: error });
    }
  }

  async readText(hostPath: string, maxBytes: number): Promise<string> {
    const fail = (what: string, cause?: unknown): never => {
      throw new BerthError("invalid-argument", `file ${JSON.stringify(hostPath)}: ${what}`, { cause });
    };
    try {
      // Not blocking: a named pipe would hold up the open until somebody writes.
      await using file = await open(hostPath, constants.O_RDONLY | constants.O_NONBLOCK);
      const info = await file.stat();
      if (!info.isFile()) return fail("is not a regular file");
      if (info.size > maxBytes) return fail(`has more than ${maxBytes} bytes`);
      return await file.readFile("utf8");
    } catch (error) {
      if (error instanceof BerthError) throw error;
      return fail(`can't be read (${errnoOf(error)})`, error);
    }
  }

  async apparmorProfileLoaded(name: string): Promise<boolean> {
    const list = await readFile("/sys/kernel/security/apparmor/profiles", "utf8");
    return list.split("\n").some((line) => line.slice(0, line.lastIndexOf(" (")) === name);
  }
}

async function deviceAt(path: string): Promise<readonly DeviceNode[]> {
  const info = await stat(path, { bigint: true });
  if (!info.isCharacterDevice() && !info.isBlockDevice()) return [];
  const { major, minor } = splitDeviceNumber(info.rdev);
  return [
    {
      path,
      type: info.isCharacterDevice() ? "c" : "b",
      major,
      minor,
      mode: Number(info.mode & 0o7777n),
      uid: Number(info.uid),
      gid: Number(info.gid),
    },
  ];
}

async function devicesBelow(directory: string): Promise<readonly DeviceNode[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry): Promise<readonly DeviceNode[]> => {
      const path = posix.join(directory, entry.name);
      if (entry.isDirectory()) return ownFileSystems.has(entry.name) ? [] : devicesBelow(path);
      // /dev/console is the container's own terminal, never the machine's.
      if (path === "/dev/console") return [];
      return entry.isCharacterDevice() || entry.isBlockDevice() ? deviceOrGone(path) : [];
    }),
  );
  return found.flat();
}

async function deviceOrGone(path: string): Promise<readonly DeviceNode[]> {
  try {
    return await deviceAt(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** glibc's gnu_dev_major and gnu_dev_minor: the kernel's split of a 64-bit st_rdev. */
export function splitDeviceNumber(rdev: bigint): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
    minor: Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn)) >>> 0,
  };
}
