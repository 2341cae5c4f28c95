import { constants, existsSync } from "node:fs";
import { access, readFile, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Config } from "./config/config.ts";
import { readHostFacts } from "./effects/kernel/host.ts";
import { chooseDriver, readCgroupLayout } from "./effects/kernel/open-cgroups.ts";
import { KernelProjectQuota } from "./effects/kernel/project-quota.ts";
import { noQuota } from "./effects/store/layer-projects.ts";
import type { HostFacts } from "./ports/host.ts";

/** One thing that `berthd check` looks at. */
interface Finding {
  readonly what: string;
  /** `lacking` means that something won't work; `missing` that nothing will. */
  readonly verdict: "ok" | "lacking" | "missing";
  /** What was found, or what follows from what was not. */
  readonly says: string;
}

const superMagicOverlayUnfit: ReadonlyMap<number, string> = new Map([
  [0x794c7630, "overlayfs"],
  [0x6969, "NFS"],
  [0x65735546, "FUSE"],
]);

/** Says what this host lacks and what follows. Resolves with the exit code: 1 when the server can't run here. */
export async function check(config: Config, print: (line: string) => void): Promise<number> {
  const host = await readHostFacts();
  const findings = [
    ...kernelFindings(host),
    await cgroupFinding(config),
    await privilegeFinding(),
    ...(await programFindings(config)),
    await rootFinding(config),
    await quotaFinding(config),
    await networkFinding(config),
    seccompFinding(host),
  ];
  const width = Math.max(...findings.map(({ what }) => what.length));
  for (const { what, verdict, says } of findings) {
    print(`${verdict.padEnd(8)} ${what.padEnd(width)}  ${says}`);
  }
  const isFit = findings.every(({ verdict }) => verdict !== "missing");
  print(isFit ? "berthd can run here" : "berthd can't run here");
  return isFit ? 0 : 1;
}

function kernelFindings(host: HostFacts): readonly Finding[] {
  const { major, minor } = host.kernel;
  const isRecent = major > 5 || (major === 5 && minor >= 9);
  return [
    {
      what: "kernel",
      verdict: isRecent ? "ok" : "missing",
      says: isRecent
        ? `${major}.${minor}`
        : `${major}.${minor}: 5.9 is needed (openat2, clone3, close_range)`,
    },
    feature(
      "recursive read-only mounts",
      host.recursiveReadOnlyMounts,
      "mounts with recursive_read_only are refused (kernel 5.12)",
    ),
    feature("user namespaces", host.userNamespaces, "pods with hostUsers: false are refused"),
    feature("idmapped mounts", host.idmappedMounts, "pods with hostUsers: false are refused (kernel 5.19)"),
    feature("time namespaces", host.timeNamespaces, "the time annotation is refused"),
    feature("AppArmor", host.apparmor, "AppArmor profiles are refused; the default is none"),
    feature("SELinux", host.selinux, "SELinux options have no effect"),
  ];
}

function feature(what: string, isThere: boolean, consequence: string): Finding {
  return { what, verdict: isThere ? "ok" : "lacking", says: isThere ? "yes" : consequence };
}

async function cgroupFinding(config: Config): Promise<Finding> {
  try {
    const layout = await readCgroupLayout();
    const driver = await chooseDriver(config.runtime.cgroupDriver, layout);
    return layout.version === 2
      ? { what: "cgroups", verdict: "ok", says: `v2, made by ${driver === "systemd" ? "systemd" : "us"}` }
      : {
          what: "cgroups",
          verdict: "lacking",
          says: "v1: a kubelet needs failCgroupV1: false; unified settings, PSI and memory QoS have no effect",
        };
  } catch (error) {
    return {
      what: "cgroups",
      verdict: "missing",
      says: error instanceof Error ? error.message : String(error),
    };
  }
}

async function privilegeFinding(): Promise<Finding> {
  const isRoot = process.geteuid?.() === 0;
  const status = await readFile("/proc/self/status", "utf8");
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  const canAdmin = (effective >> 21n) % 2n === 1n;
  return {
    what: "privileges",
    verdict: isRoot && canAdmin ? "ok" : "missing",
    says: isRoot && canAdmin ? "root with CAP_SYS_ADMIN" : "root with CAP_SYS_ADMIN is needed",
  };
}

async function programFindings(config: Config): Promise<readonly Finding[]> {
  const names = ["berth-native", "berth-unpack"];
  return await Promise.all(
    names.map(async (name): Promise<Finding> => {
      const path = join(config.nativeDir, name);
      const isThere = await canAccess(path, constants.X_OK);
      return {
        what: name,
        verdict: isThere ? "ok" : "missing",
        says: isThere ? path : `${path}: no such program`,
      };
    }),
  );
}

async function rootFinding({ root }: Config): Promise<Finding> {
  const what = "root directory";
  const unfit = superMagicOverlayUnfit.get((await statfs(existingParent(root))).type);
  return unfit === undefined
    ? { what, verdict: "ok", says: root }
    : { what, verdict: "missing", says: `${root}: overlayfs takes no upper layer on ${unfit}` };
}

/** The directory itself, or the nearest above it that is there. */
function existingParent(path: string): string {
  let present = path;
  while (!existsSync(present)) {
    present = dirname(present);
  }
  return present;
}

async function quotaFinding({ root, runtime }: Config): Promise<Finding> {
  const what = "project quota";
  const quota = await KernelProjectQuota.open(existingParent(root));
  await quota.close();
  if (quota.state.enforces) {
    return { what, verdict: "ok", says: "writable layers can be limited" };
  }
  const isWanted = runtime.writableLayerBytes > 0;
  return {
    what,
    verdict: isWanted ? "missing" : "lacking",
    says: noQuota("writable layers can't be limited"),
  };
}

async function networkFinding(config: Config): Promise<Finding> {
  const isThere = await canAccess(config.cni.confDir, constants.R_OK);
  return {
    what: "CNI configuration",
    verdict: isThere ? "ok" : "lacking",
    says: isThere
      ? config.cni.confDir
      : `${config.cni.confDir}: no such directory; only pods on the host's network can run`,
  };
}

function seccompFinding(host: HostFacts): Finding {
  return { what: "architecture", verdict: "ok", says: host.arch };
}

async function canAccess(path: string, mode: number): Promise<boolean> {
  try {
    await access(path, mode);
    return true;
  } catch {
    return false;
  }
}
