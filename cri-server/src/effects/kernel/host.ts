import { access, readFile } from "node:fs/promises";
import { release } from "node:os";
import { BerthError } from "../../errors/berth-error.ts";
import type { HostFacts } from "../../ports/host.ts";
import { errnoOf } from "./cgroup-files.ts";
import { readHugePageSizes } from "./huge-pages.ts";
import { systemCallExists } from "./libc.ts";
import { readCgroupLayout } from "./open-cgroups.ts";

/** mount_setattr's number, the same on every architecture. */
const mountSetattr = 442;
const capSysResource = 24n;

/** Finds out once what this machine and the server's own place in it allow. */
export async function readHostFacts(): Promise<HostFacts> {
  const [layout, status, limits, bootId, oomScoreAdj, apparmor, selinux, userns, timens, pages] =
    await Promise.all([
      readCgroupLayout(),
      readFile("/proc/self/status", "latin1"),
      readFile("/proc/self/limits", "latin1"),
      readFile("/proc/sys/kernel/random/boot_id", "latin1"),
      readFile("/proc/self/oom_score_adj", "latin1"),
      apparmorEnabled(),
      exists("/sys/fs/selinux/enforce"),
      userNamespaces(),
      exists("/proc/self/ns/time"),
      readHugePageSizes(),
    ]);
  const kernel = kernelVersion(release());
  const { bounding, effective } = capabilities(status);
  return {
    cgroupVersion: layout.version,
    kernel,
    arch: process.arch === "arm64" ? "arm64" : "x64",
    bootId: bootId.trim(),
    boundingCapabilities: bounding,
    oomScoreAdj: Number(oomScoreAdj),
    canLowerOomScore: ((effective >> capSysResource) & 1n) === 1n,
    maxOpenFiles: openFilesLimit(limits),
    apparmor,
    selinux,
    recursiveReadOnlyMounts: systemCallExists(mountSetattr),
    idmappedMounts: userns && atLeast(kernel, 5, 19),
    userNamespaces: userns,
    timeNamespaces: timens,
    overlayLowerdirAppend: atLeast(kernel, 6, 8),
    hugePageSizes: pages,
  };
}

function atLeast(kernel: HostFacts["kernel"], major: number, minor: number): boolean {
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

/** "6.18.44-fc" as numbers. */
export function kernelVersion(text: string): HostFacts["kernel"] {
  const match = /^([0-9]+)\.([0-9]+)/.exec(text);
  if (!match) throw new BerthError("internal", `kernel release ${JSON.stringify(text)} is not a version`);
  return { major: Number(match[1]), minor: Number(match[2]) };
}

/** CapBnd and CapEff of /proc/PID/status. */
export function capabilities(status: string): { readonly bounding: bigint; readonly effective: bigint } {
  const field = (name: string) =>
    BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1] ?? "0"}`);
  return { bounding: field("CapBnd"), effective: field("CapEff") };
}

/** The hard limit of /proc/PID/limits. */
export function openFilesLimit(limits: string): bigint {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  return hard === undefined || hard === "unlimited" ? 1_048_576n : BigInt(hard);
}

async function apparmorEnabled(): Promise<boolean> {
  const text = await orMissing(readFile("/sys/module/apparmor/parameters/enabled", "latin1"), "");
  return text.startsWith("Y") && (await exists("/sys/kernel/security/apparmor"));
}

async function userNamespaces(): Promise<boolean> {
  const most = await orMissing(readFile("/proc/sys/user/max_user_namespaces", "latin1"), "0");
  return Number(most) > 0 && (await exists("/proc/self/ns/user"));
}

async function exists(path: string): Promise<boolean> {
  return orMissing(
    access(path).then(() => true),
    false,
  );
}

async function orMissing<T>(value: Promise<T>, missing: T): Promise<T> {
  try {
    return await value;
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes(errnoOf(error))) return missing;
    throw error;
  }
}
