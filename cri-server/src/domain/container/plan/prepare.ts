import { posix } from "node:path";
import { BerthError } from "../../../errors/berth-error.ts";
import type { Container, ContainerConfig, ProcessFacts, ResolvedUser } from "../../../model/container.ts";
import type { ContainerId } from "../../../model/ids.ts";
import type { ImageLease } from "../../../model/image.ts";
import type { ExecPlan, LaunchPlan } from "../../../model/plan.ts";
import type { Resources } from "../../../model/resources.ts";
import type { Sandbox } from "../../../model/sandbox.ts";
import type { CdiDevices } from "../../../ports/cdi.ts";
import type { Cgroups } from "../../../ports/cgroups.ts";
import type { HostFacts, HostFiles } from "../../../ports/host.ts";
import type { CompiledFilter, SeccompFilters } from "../../../ports/seccomp.ts";
import { resolveArgs, resolveWorkingDir } from "./args.ts";
import type { ContainerPaths } from "./build.ts";
import { buildExecPlan, buildLaunchPlan } from "./build.ts";
import { resolveCapabilities, unavailableCapabilities } from "./capabilities.ts";
import { injectCdi } from "./cdi.ts";
import type { PodFiles } from "./default-mounts.ts";
import type { ResolvedDevice } from "./devices.ts";
import { deviceRules, resolveDevices } from "./devices.ts";
import { resolveEnv } from "./env.ts";
import { bundleConfig } from "./hooks.ts";
import { resolveOomScore, resolveResources } from "./limits.ts";
import { selectSeccomp } from "./seccomp-select.ts";
import { resolveApparmor } from "./security.ts";
import { resolveStopSignal } from "./signals.ts";
import { resolveUser } from "./user.ts";

export interface PlanDeps {
  readonly cgroups: Cgroups;
  readonly seccomp: SeccompFilters;
  readonly files: HostFiles;
  readonly cdi: CdiDevices;
  readonly host: HostFacts;
  readonly settings: PlanSettings;
}

export interface PlanSettings {
  /** 0: none. */
  readonly pidsLimit: number;
  readonly maxLogLineBytes: number;
  /** A profile that replaces the built-in RuntimeDefault; "" built-in. */
  readonly seccompProfile: string;
}

export interface LaunchRequest {
  readonly containerId: ContainerId;
  readonly config: ContainerConfig;
  readonly sandbox: Pick<Sandbox, "config" | "cgroupParent">;
  readonly lease: ImageLease;
  /** Leases of the image volumes, by MountRequest.image. */
  readonly volumes: ReadonlyMap<string, ImageLease>;
  readonly files: PodFiles;
  readonly paths: ContainerPaths;
  /** The pod's host name, or the machine's for a pod on its network. */
  readonly hostname: string;
  /** PID of the container that namespace_options.target_id names, if it runs. */
  readonly targetPid: number | undefined;
}

/** Everything that CreateContainer gives to the monitor and to the container's record. */
export interface PreparedLaunch {
  readonly plan: LaunchPlan;
  /** config.json for hooks; undefined: there are none. */
  readonly bundleConfig: string | undefined;
  readonly user: ResolvedUser;
  readonly facts: ProcessFacts;
  readonly stopSignal: number;
  readonly resources: Resources;
  /** Container.cgroupPath. */
  readonly cgroupPath: string;
  /** For the log: what was asked for and given in part only. */
  readonly warnings: readonly string[];
}

/** Asks the host for what the plan needs (devices, filter, group) and builds it. Makes nothing that had to be undone. */
export async function prepareLaunch(deps: PlanDeps, request: LaunchRequest): Promise<PreparedLaunch> {
  const { config, lease, sandbox } = request;
  const { security } = config;
  const imageConfig = lease.image.config;
  const ownUser = userOf(config, lease);
  const injection = await injectCdi(deps, config, ownUser);
  const user = { ...ownUser, groups: [...new Set([...ownUser.groups, ...injection.groups])] };
  const args = resolveArgs(config, imageConfig);
  const stopSignal = resolveStopSignal(config.stopSignal, imageConfig.stopSignal);
  const { hostname } = request;
  const env = resolveEnv({ image: imageConfig, config, hostname, home: user.home, injected: injection.env });
  const resources = resolveResources(config, deps.settings.pidsLimit);
  const oomScore = resolveOomScore(resources, deps.host);
  const cgroupPath = posix.join(sandbox.cgroupParent, request.containerId);
  const [devices, filter, apparmor] = await Promise.all([
    devicesOf(deps.files, config, injection.devices),
    seccompOf(deps, config),
    resolveApparmor(security, deps.host, deps.files),
    checkSources(deps.files, config),
  ]);
  const cgroup = await deps.cgroups.plan({
    path: cgroupPath,
    resources,
    devices: deviceRules(devices, security.privileged),
  });
  const facts: ProcessFacts = {
    env,
    cwd: resolveWorkingDir(config, imageConfig),
    seccompKey: filter?.key ?? "",
    apparmor,
    oomScoreAdj: oomScore.value,
  };
  const plan = buildLaunchPlan({
    ...request,
    args,
    user,
    facts,
    seccomp: filter?.bytes ?? new Uint8Array(0),
    devices,
    injectedMounts: injection.mounts,
    hooks: injection.hooks,
    cgroup,
    cgroupView: deps.cgroups.view(cgroupPath),
    host: deps.host,
    maxLogLineBytes: deps.settings.maxLogLineBytes,
  });
  return {
    plan,
    bundleConfig: injection.hooks.length === 0 ? undefined : bundleConfig(plan, config.annotations),
    user,
    facts,
    stopSignal,
    resources,
    cgroupPath,
    warnings: warningsOf(deps, config, oomScore),
  };
}

function userOf(config: ContainerConfig, { image, passwd, group }: ImageLease): ResolvedUser {
  return resolveUser({ request: config.security.user, imageUser: image.config.user, passwd, group });
}

/** The plan of exec: the container's own identity, environment and limits; nothing is read from the container. */
export async function prepareExec(
  deps: Pick<PlanDeps, "cgroups" | "seccomp" | "host">,
  container: Container,
  args: readonly string[],
  tty: boolean,
): Promise<ExecPlan> {
  const key = container.process.seccompKey;
  const filter = key === "" ? undefined : await deps.seccomp.load(key);
  return buildExecPlan({
    containerId: container.id,
    config: container.config,
    args,
    user: container.user,
    facts: container.process,
    seccomp: filter?.bytes ?? new Uint8Array(0),
    host: deps.host,
    tty,
    cgroup: deps.cgroups.joining(container.cgroupPath),
  });
}

/** Compiles what nearly every container asks for, so that the first one needn't wait for it. */
export async function warmPlans(deps: PlanDeps): Promise<void> {
  const usual = { capabilitiesAdd: [], capabilitiesDrop: [], capabilitiesAmbient: [], privileged: false };
  const program = await selectSeccomp({
    security: { seccomp: { kind: "runtime-default" }, privileged: false },
    granted: resolveCapabilities(usual, deps.host.boundingCapabilities).bounding,
    host: deps.host,
    defaultProfile: deps.settings.seccompProfile,
    files: deps.files,
  });
  if (program !== undefined) await deps.seccomp.compile(program);
}

async function devicesOf(
  files: HostFiles,
  config: ContainerConfig,
  injected: readonly ResolvedDevice[],
): Promise<readonly ResolvedDevice[]> {
  const lists = await Promise.all(
    config.devices.map(async (request) => resolveDevices(request, await files.devices(request.hostPath))),
  );
  const replaced = new Set(injected.map((device) => device.target));
  const requested = [...lists.flat().filter((device) => !replaced.has(device.target)), ...injected];
  if (!config.security.privileged) return requested;
  const targets = new Set(requested.map((device) => device.target));
  const all = (await files.allDevices()).filter((node) => !targets.has(node.path));
  return [...all.map((node) => ({ target: node.path, node, access: "rwm" })), ...requested];
}

async function seccompOf(deps: PlanDeps, config: ContainerConfig): Promise<CompiledFilter | undefined> {
  const { boundingCapabilities } = deps.host;
  const program = await selectSeccomp({
    security: config.security,
    granted: resolveCapabilities(config.security, boundingCapabilities).bounding,
    host: deps.host,
    defaultProfile: deps.settings.seccompProfile,
    files: deps.files,
  });
  return program === undefined ? undefined : deps.seccomp.compile(program);
}

/** The kernel would say "no such file" later; this says which of the request's mounts it is. */
async function checkSources(files: HostFiles, config: ContainerConfig): Promise<void> {
  await Promise.all(
    config.mounts.map(async ({ hostPath, image, containerPath }) => {
      if (image !== "" || hostPath === "") return;
      if ((await files.kindOf(hostPath)) !== undefined) return;
      throw new BerthError(
        "invalid-argument",
        `mounts.host_path: ${JSON.stringify(hostPath)} (for ${containerPath}) does not exist`,
      );
    }),
  );
}

function warningsOf(
  deps: PlanDeps,
  config: ContainerConfig,
  oomScore: ReturnType<typeof resolveOomScore>,
): readonly string[] {
  const warnings: string[] = [];
  if (oomScore.clampedFrom !== undefined) {
    warnings.push(
      `oom_score_adj: ${oomScore.clampedFrom} raised to ${oomScore.value}: going lower needs CAP_SYS_RESOURCE`,
    );
  }
  const missing = unavailableCapabilities(config.security, deps.host.boundingCapabilities);
  if (missing.length > 0)
    warnings.push(`capabilities: ${missing.join(", ")}: not in the server's own bounding set`);
  return warnings;
}
