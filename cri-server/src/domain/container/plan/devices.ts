import { posix } from "node:path";
import { BerthError } from "../../../errors/berth-error.ts";
import type { DeviceRequest } from "../../../model/container.ts";
import type { RootOp } from "../../../model/plan.ts";
import type { DeviceRule } from "../../../ports/cgroups.ts";
import type { DeviceNode } from "../../../ports/host.ts";

/** One requested device (or one of a requested directory) with what the host has there. */
export interface ResolvedDevice {
  readonly target: string;
  /** `p`, a named pipe, comes from CDI specs only. */
  readonly node: Omit<DeviceNode, "type"> & { readonly type: "c" | "b" | "p" };
  /** "" allows nothing. */
  readonly access: string;
}

type DeviceOp = Extract<RootOp, { readonly op: "device" }>;

/** OCI runtime-spec's default devices; /dev/console is the terminal's and comes with it. */
const defaults: readonly (readonly [string, number, number])[] = [
  ["/dev/null", 1, 3],
  ["/dev/zero", 1, 5],
  ["/dev/full", 1, 7],
  ["/dev/random", 1, 8],
  ["/dev/urandom", 1, 9],
  ["/dev/tty", 5, 0],
];

const links: readonly (readonly [string, string])[] = [
  ["/dev/ptmx", "pts/ptmx"],
  ["/dev/fd", "/proc/self/fd"],
  ["/dev/stdin", "/proc/self/fd/0"],
  ["/dev/stdout", "/proc/self/fd/1"],
  ["/dev/stderr", "/proc/self/fd/2"],
];

/** Pairs a request with the host's devices: a directory gives all of its devices below the container path. */
export function resolveDevices(
  request: DeviceRequest,
  nodes: readonly DeviceNode[],
): readonly ResolvedDevice[] {
  const access = request.permissions === "" ? "rwm" : request.permissions;
  if (!/^[rwm]{1,3}$/.test(access)) {
    throw new BerthError(
      "invalid-argument",
      `devices.permissions: ${JSON.stringify(request.permissions)} is not made of r, w and m`,
    );
  }
  const base = request.containerPath === "" ? request.hostPath : request.containerPath;
  return nodes.map((node) => {
    const below = posix.relative(request.hostPath, node.path);
    const inside = below !== "" && !below.startsWith("..");
    return { target: posix.normalize(inside ? posix.join(base, below) : base), node, access };
  });
}

/** What makes /dev. In a user namespace nodes can't be made, so the host's are bound in. */
export function deviceOps(devices: readonly ResolvedDevice[], inUserns: boolean): readonly RootOp[] {
  const targets = new Set(devices.map((device) => device.target));
  const own: DeviceOp[] = defaults
    .filter(([target]) => !targets.has(target))
    .map(([target, major, minor]) => ({
      op: "device",
      target,
      type: "c",
      major,
      minor,
      mode: 0o666,
      uid: 0,
      gid: 0,
    }));
  const nodes = inUserns
    ? [
        ...own.map((op) => bindNode(op.target, op.target)),
        ...devices.map((device) =>
          device.node.type === "p" ? nodeOp(device) : bindNode(device.node.path, device.target),
        ),
      ]
    : [...own, ...devices.map(nodeOp)];
  return [
    ...nodes,
    ...links
      .filter(([target]) => !targets.has(target))
      .map(([target, to]): RootOp => ({ op: "symlink", target, to })),
  ];
}

function nodeOp({ target, node }: ResolvedDevice): DeviceOp {
  return {
    op: "device",
    target,
    type: node.type,
    major: node.major,
    minor: node.minor,
    mode: node.mode,
    uid: node.uid,
    gid: node.gid,
  };
}

function bindNode(source: string, target: string): RootOp {
  return {
    op: "bind",
    source,
    target,
    recursive: false,
    attributes: { nosuid: true, noexec: true },
    recursiveReadOnly: false,
    propagation: "private",
    requireShared: false,
    requireSlave: false,
    idmap: false,
    create: true,
  };
}

const denyAll: DeviceRule = {
  allow: false,
  type: "a",
  major: undefined,
  minor: undefined,
  access: "rwm",
};

const defaultRules: readonly DeviceRule[] = [
  // Making a node is harmless where opening it is not allowed.
  allow("c", undefined, undefined, "m"),
  allow("b", undefined, undefined, "m"),
  ...defaults.map(([, major, minor]) => allow("c", major, minor, "rwm")),
  allow("c", 5, 1, "rwm"),
  allow("c", 5, 2, "rwm"),
  allow("c", 136, undefined, "rwm"),
  // /dev/net/tun: runc took it out and had to put it back (VPN sidecars make the node themselves).
  allow("c", 10, 200, "rwm"),
];

/** The device cgroup's rules, in order, the last match wins. */
export function deviceRules(
  devices: readonly Pick<ResolvedDevice, "node" | "access">[],
  privileged: boolean,
): readonly DeviceRule[] {
  if (privileged) {
    return [{ allow: true, type: "a", major: undefined, minor: undefined, access: "rwm" }];
  }
  return [
    denyAll,
    ...defaultRules,
    ...devices.flatMap(({ node, access }) =>
      node.type === "p" || access === "" ? [] : [allow(node.type, node.major, node.minor, access)],
    ),
  ];
}

function allow(
  type: "c" | "b",
  major: number | undefined,
  minor: number | undefined,
  access: string,
): DeviceRule {
  return { allow: true, type, major, minor, access };
}
