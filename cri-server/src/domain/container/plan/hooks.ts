import { posix } from "node:path";
import type { LaunchPlan, RootOp } from "../../../model/plan.ts";
import type { CdiHook } from "../../../ports/cdi.ts";

/** The version of the OCI runtime-spec whose State and config.json hooks are given. */
const ociVersion = "1.2.0";

/** For hooks that name no time: a device that isn't ready by then fails the container instead of holding up its pod. */
const usualTimeoutSeconds = 120;

export interface HookContext {
  readonly containerId: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** Host directory of config.json and, below it, rootfs. */
  readonly bundle: string;
}

/** Below the bundle: where hooks find the container's root. */
const rootName = "rootfs";

/** createContainer hooks as operations. They come when everything is mounted and nothing is masked yet. */
export function hookOps(hooks: readonly CdiHook[], context: HookContext): readonly RootOp[] {
  const { containerId, annotations, bundle } = context;
  const state = JSON.stringify({ ociVersion, id: containerId, status: "creating", bundle, annotations });
  return hooks.map(({ path, args, env, timeoutSeconds }) => ({
    op: "hook",
    target: path,
    args: args.length === 0 ? [path] : args,
    env,
    state,
    mountPoint: posix.join(bundle, rootName),
    timeoutSeconds: timeoutSeconds ?? usualTimeoutSeconds,
  }));
}

/** What hooks read from config.json (OCI runtime-spec, config.md): the root, the process and the mounts. */
export function bundleConfig(
  plan: Pick<LaunchPlan, "process" | "rootfs" | "ops">,
  annotations: Readonly<Record<string, string>>,
): string {
  const { process, rootfs } = plan;
  return JSON.stringify({
    ociVersion,
    root: { path: rootName, readonly: rootfs.readonly },
    process: {
      terminal: process.tty,
      user: { uid: process.uid, gid: process.gid, additionalGids: process.groups },
      args: process.args,
      env: process.env,
      cwd: process.cwd,
      noNewPrivileges: process.noNewPrivileges,
    },
    mounts: plan.ops.flatMap((op) => {
      if (op.op === "bind") return [{ destination: op.target, type: "bind", source: op.source }];
      return op.op === "fs" ? [{ destination: op.target, type: op.type, source: op.type }] : [];
    }),
    annotations,
  });
}
