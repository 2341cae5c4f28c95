import type { Container } from "../../model/container.ts";
import type { ContainerExplanation, Milestone, ProcessExplanation } from "../../model/explanation.ts";
import type { MountFacts, ProcessFacts } from "../../ports/inspection.ts";
import { capabilityNames } from "../container/plan/capabilities.ts";
import type { ContainerEntry } from "../objects.ts";
import type { ExplainDeps } from "./deps.ts";
import { explainNamespaces, type NamedProcess, type Owners } from "./namespaces.ts";
import { pendingOf, pendingProblems } from "./pending.ts";
import { isoTime } from "./time.ts";

/** What the page about a container needs of its pod. */
export interface Surroundings {
  readonly owners: Owners;
  /** Processes of the pod's containers, this one's too. */
  readonly processes: ReadonlyMap<string, ProcessFacts>;
  readonly names: ReadonlyMap<string, string>;
  /** What the monitor says, by container id; undefined when it does not answer. */
  readonly knows: Readonly<Record<string, string>> | undefined;
}

/** Everything about one container. */
export async function explainContainer(
  deps: ExplainDeps,
  entry: ContainerEntry,
  around: Surroundings,
): Promise<ContainerExplanation> {
  const { container, steps } = entry;
  const { id, config, status } = container;
  const process = around.processes.get(id);
  const [mounts, logBytes, usage] = await Promise.all([
    process === undefined ? [] : deps.inspection.mounts(process.pid),
    container.logPath === "" ? undefined : deps.inspection.fileSize(container.logPath),
    process === undefined ? undefined : usageOf(deps, container),
  ]);
  const limits =
    process === undefined
      ? []
      : deps.cgroups
          .limits(container.cgroupPath, container.resources)
          .map(({ inForce, ...rest }) => ({ ...rest, ...(inForce === undefined ? {} : { inForce }) }));
  const pending = pendingOf(deps.background, id);
  const root = mounts.find(({ target, type }) => target === "/" && type === "overlay");
  const explained: Omit<ContainerExplanation, "problems"> = {
    id,
    name: config.metadata.name,
    attempt: config.metadata.attempt,
    image: container.imageName,
    imageId: container.imageId,
    state: status.phase,
    milestones: milestonesOf(container),
    ...(steps === undefined ? {} : { steps }),
    ...(process === undefined ? {} : { process: explainProcess(process, id, around) }),
    cgroup: container.cgroupPath,
    limits,
    ...(usage === undefined ? {} : { usage }),
    ...(root === undefined
      ? {}
      : { root: { layers: layersOf(deps, container, root), upper: root.upper || container.layerDir } }),
    mounts: mounts.map(({ target, type, source, options }) => ({ target, type, source, options })),
    seccompWanted: config.security.privileged ? "unconfined" : nameOf(config.security.seccomp),
    apparmorWanted: container.process.apparmor,
    ...exitOf(container),
    logPath: container.logPath,
    ...(logBytes === undefined ? {} : { logBytes }),
    directory: container.layerDir,
    pending,
  };
  return { ...explained, problems: problemsOf(container, explained, process, around) };
}

function nameOf(profile: Container["config"]["security"]["seccomp"]): string {
  return profile.kind === "localhost" ? profile.ref : profile.kind;
}

async function usageOf(deps: ExplainDeps, container: Container): Promise<ContainerExplanation["usage"]> {
  try {
    const usage = await deps.cgroups.usage(container.cgroupPath);
    return {
      memoryBytes: Number(usage.memoryUsage),
      processes: Number(usage.processes),
      cpuSeconds: Number(usage.cpuTotal / 1_000_000n) / 1000,
    };
  } catch (error) {
    // Its group is gone, which the limits show too; to explain that is what this is for.
    deps.log.debug({ err: error, container: container.id }, "no usage to explain");
    return undefined;
  }
}

/** The kernel names the layers that it was given by descriptors only as numbers: then they follow from the image. */
function layersOf(deps: ExplainDeps, container: Container, root: MountFacts): readonly string[] {
  const isNamed = root.lower.length > 0 && root.lower.every((layer) => layer.startsWith("/"));
  return isNamed ? root.lower : deps.images.layerDirs(container.imageId).toReversed();
}

function milestonesOf({ createdAt, status }: Container): readonly Milestone[] {
  const made = { at: isoTime(createdAt), what: "create was asked for" };
  if (status.phase === "running") {
    return [made, { at: isoTime(status.startedAt), what: `started as pid ${status.pid}` }];
  }
  if (status.phase !== "exited") {
    return [made];
  }
  const { startedAt, finishedAt, exitCode, reason } = status;
  const ended = { at: isoTime(finishedAt), what: `ended with exit code ${exitCode}: ${reason}` };
  const ran = startedAt < finishedAt || reason === "Completed";
  return ran ? [made, { at: isoTime(startedAt), what: "started" }, ended] : [made, ended];
}

function exitOf({ status }: Container): Pick<ContainerExplanation, "exit"> {
  if (status.phase !== "exited") {
    return {};
  }
  return { exit: { code: status.exitCode, reason: status.reason, message: status.message } };
}

function explainProcess(process: ProcessFacts, id: string, around: Surroundings): ProcessExplanation {
  const others: NamedProcess[] = [...around.processes]
    .filter(([other]) => other !== id)
    .map(([other, { namespaces }]) => ({ name: around.names.get(other) ?? other, namespaces }));
  const { pid, command, state, uid, gid, seccomp, seccompFilters, noNewPrivileges, lsm } = process;
  return {
    pid,
    command,
    state,
    uid,
    gid,
    namespaces: explainNamespaces(process.namespaces, around.owners, others),
    capabilities: capabilityNames(process.effective),
    bounding: capabilityNames(process.bounding),
    ambient: capabilityNames(process.ambient),
    noNewPrivileges,
    seccomp: seccomp === "filter" ? `${seccompFilters} filter${seccompFilters === 1 ? "" : "s"}` : seccomp,
    lsm,
  };
}

function problemsOf(
  { id, status, logPath }: Container,
  { limits, seccompWanted, pending, logBytes }: Omit<ContainerExplanation, "problems">,
  process: ProcessFacts | undefined,
  { knows }: Surroundings,
): readonly string[] {
  const found: string[] = [];
  if (status.phase === "unknown") {
    found.push(status.message);
  }
  if (status.phase === "running" || status.phase === "created") {
    if (process === undefined) {
      found.push(`it should be ${status.phase}, but its process ${status.pid} is gone`);
    }
    if (knows !== undefined && knows[id] !== status.phase) {
      found.push(`it should be ${status.phase}, but its monitor says ${knows[id] ?? "that it knows none"}`);
    }
  }
  for (const { file, wanted, inForce } of limits.filter(({ differs }) => differs)) {
    found.push(`${file} should be ${wanted}, and is ${inForce ?? "gone"}`);
  }
  // Until it runs, it is still the monitor's child that has not dropped everything yet.
  if (
    process !== undefined &&
    status.phase === "running" &&
    seccompWanted !== "unconfined" &&
    process.seccomp === "none"
  ) {
    found.push(`no seccomp filter is in force, but ${seccompWanted} is wanted`);
  }
  if (status.phase === "running" && logPath !== "" && logBytes === undefined) {
    found.push(`its log ${logPath} is not there`);
  }
  return [...found, ...pendingProblems(pending)];
}
