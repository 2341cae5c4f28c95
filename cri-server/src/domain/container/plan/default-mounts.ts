import type { UserNamespace } from "../../../model/namespaces.ts";
import type { NamespacePlan, RootOp } from "../../../model/plan.ts";
import type { CgroupView } from "../../../ports/cgroups.ts";
import { bindOp } from "./mounts.ts";

export interface DefaultMountInput {
  readonly namespaces: NamespacePlan;
  readonly userns: UserNamespace | undefined;
  readonly privileged: boolean;
  readonly readonlyRootfs: boolean;
  readonly cgroup: CgroupView;
  readonly files: PodFiles;
}

/** Host paths of what all containers of a pod share; "" leaves the image's own. */
export interface PodFiles {
  readonly resolvConf: string;
  readonly hostname: string;
  readonly hosts: string;
  /** The pod's /dev/shm; the host's for a pod in the host's IPC namespace. */
  readonly shm: string;
}

/** Operations that belong together, placed in the order by their mount point. */
export interface MountBlock {
  readonly target: string;
  readonly ops: readonly RootOp[];
}

/** The mounts of every container; one is left out where the container asks for its own at the same place. */
export function defaultMounts(input: DefaultMountInput): readonly MountBlock[] {
  const { files, readonlyRootfs } = input;
  const fileAttributes = readonlyRootfs ? { readonly: true } : {};
  const blocks = [
    block(procOp(input)),
    block(
      fs("tmpfs", "/dev", { nosuid: true }, [
        ["mode", "0755"],
        ["size", "65536k"],
      ]),
    ),
    block(fs("devpts", "/dev/pts", { nosuid: true, noexec: true }, devptsOptions(input.userns))),
    block(mqueueOp(input)),
    block(sysfsOp(input)),
    cgroupBlock(input),
  ];
  if (files.shm !== "") {
    blocks.push(block(bindOp(files.shm, "/dev/shm", { nosuid: true, nodev: true, noexec: true })));
  }
  const podFiles: readonly (readonly [string, string])[] = [
    [files.hosts, "/etc/hosts"],
    [files.hostname, "/etc/hostname"],
    [files.resolvConf, "/etc/resolv.conf"],
  ];
  for (const [source, target] of podFiles) {
    if (source !== "") blocks.push(block(bindOp(source, target, fileAttributes)));
  }
  return blocks;
}

const locked = { nosuid: true, nodev: true, noexec: true } as const;

type FsOp = Extract<RootOp, { readonly op: "fs" }>;

function fs(
  type: FsOp["type"],
  target: string,
  attributes: FsOp["attributes"],
  options: FsOp["options"] = [],
): FsOp {
  return { op: "fs", type, target, attributes, options };
}

function block(op: RootOp): MountBlock {
  return { target: op.target, ops: [op] };
}

/** A user namespace may mount a procfs only for a PID namespace that it owns (proc_fs_context, user_namespaces(7)). */
function procOp({ namespaces }: DefaultMountInput): RootOp {
  if (namespaces.user === "pod" && namespaces.pid === "host") return bindOp("/proc", "/proc", locked, true);
  return fs("proc", "/proc", locked);
}

/** gid 5 is `tty` in every distribution; in a user namespace that doesn't map it, devpts would refuse it. */
function devptsOptions(userns: UserNamespace | undefined): FsOp["options"] {
  const options: (readonly [string, string?])[] = [["newinstance"], ["ptmxmode", "0666"], ["mode", "0620"]];
  const mapped =
    userns?.gidMappings.some(({ containerId, length }) => containerId <= 5 && 5 < containerId + length) ??
    true;
  return mapped ? [...options, ["gid", "5"]] : options;
}

function mqueueOp({ namespaces }: DefaultMountInput): RootOp {
  if (namespaces.user === "pod" && namespaces.ipc === "host") {
    return bindOp("/dev/mqueue", "/dev/mqueue", locked);
  }
  return fs("mqueue", "/dev/mqueue", locked);
}

/** A user namespace may mount sysfs only with a network namespace that it owns. */
function sysfsOp({ namespaces, privileged }: DefaultMountInput): RootOp {
  const attributes = privileged ? locked : { ...locked, readonly: true };
  if (namespaces.user === "pod" && namespaces.network === "host") {
    return { ...bindOp("/sys", "/sys", attributes, true), recursiveReadOnly: !privileged };
  }
  return fs("sysfs", "/sys", attributes);
}

function cgroupBlock({ cgroup, namespaces, privileged }: DefaultMountInput): MountBlock {
  const target = "/sys/fs/cgroup";
  const attributes = privileged ? locked : { ...locked, readonly: true };
  if (cgroup.version === 2) {
    // Mounting cgroup2 anew in the host's cgroup namespace would change the options (nsdelegate) of the host's own mount.
    const op =
      namespaces.cgroup === "host"
        ? bindOp(cgroup.mountpoint, target, attributes)
        : fs("cgroup2", target, attributes);
    return { target, ops: [op] };
  }
  const ops: RootOp[] = [
    fs("tmpfs", target, locked, [["mode", "0755"]]),
    ...cgroup.hierarchies.map(({ name, source }) => bindOp(source, `${target}/${name}`, attributes)),
    ...cgroup.links.map(({ name, to }): RootOp => ({ op: "symlink", target: `${target}/${name}`, to })),
  ];
  // The tmpfs has to be writable until its mount points are made.
  if (!privileged) ops.push({ op: "readonly", target });
  return { target, ops };
}
