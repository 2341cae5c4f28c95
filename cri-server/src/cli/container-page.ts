import type {
  ContainerExplanation,
  MountExplanation,
  PodExplanation,
  ProcessExplanation,
} from "../model/explanation.ts";
import { ago, columns, Page, showSteps } from "./page.ts";
import { showNamespaces, showPending } from "./pod-page.ts";
import { showBytes } from "./progress-bar.ts";

/** The page about a container. */
export function containerPage(pod: PodExplanation, container: ContainerExplanation, now: Date): string {
  const page = new Page();
  const { process, exit, root, usage } = container;
  page.title(
    `container ${pod.namespace}/${pod.name}/${container.name}  ${container.id.slice(0, 13)}  ${container.state}`,
  );
  page.section("problems", [...container.problems, ...pod.problems.map((problem) => `its pod: ${problem}`)]);
  page.section("id", [`${container.id}, attempt ${container.attempt}`]);
  page.section("pod", [`${pod.id.slice(0, 13)} ${pod.state}`]);
  page.section("image", [container.image, container.imageId]);
  page.section("history", columns(container.milestones.map(({ at, what }) => [at, ago(at, now), what])));
  page.section("steps", showSteps(container.steps));
  page.section(
    "exit",
    exit === undefined ? [] : [`${exit.code}, ${exit.reason}`, exit.message].filter(Boolean),
  );
  page.section("process", process === undefined ? [] : showProcess(process));
  page.section("namespaces", process === undefined ? [] : showNamespaces(process.namespaces));
  page.section("security", process === undefined ? [] : showSecurity(container, process));
  page.section("cgroup", [
    container.cgroup,
    ...(usage === undefined
      ? []
      : [
          `uses ${showBytes(usage.memoryBytes)} of memory, ${usage.processes} processes, ${usage.cpuSeconds} s of CPU time`,
        ]),
    ...columns(
      container.limits.map(({ file, wanted, inForce, differs }) => [
        file,
        inForce ?? "gone",
        differs ? `DIFFERS: ${wanted} is wanted` : "",
      ]),
    ),
  ]);
  page.section("root", root === undefined ? [container.directory] : showRoot(root));
  page.section("mounts", showMounts(container.mounts));
  page.section("log", [showLog(container)]);
  page.section("pending", showPending(container.pending));
  return page.toString();
}

function showProcess({ pid, command, state, uid, gid }: ProcessExplanation): readonly string[] {
  return [`pid ${pid} (${state}), uid ${uid}, gid ${gid}`, command];
}

function showSecurity(
  { seccompWanted, apparmorWanted }: ContainerExplanation,
  process: ProcessExplanation,
): readonly string[] {
  const list = (names: readonly string[]): string =>
    names.length === 0 ? "none" : names.map((name) => name.replace(/^CAP_/, "")).join(" ");
  return [
    `seccomp: ${process.seccomp} (${seccompWanted})`,
    `capabilities: ${list(process.capabilities)}`,
    `bounding set: ${list(process.bounding)}`,
    ...(process.ambient.length === 0 ? [] : [`ambient: ${list(process.ambient)}`]),
    `no_new_privs: ${process.noNewPrivileges ? "yes" : "no"}`,
    `LSM: ${process.lsm || "none"}${apparmorWanted === "" ? "" : ` (AppArmor profile ${apparmorWanted} was asked for)`}`,
  ];
}

/** Overlay's own order: what is above hides what is below. */
function showRoot({ layers, upper }: NonNullable<ContainerExplanation["root"]>): readonly string[] {
  return [`${upper} (writable)`, ...layers.map((layer) => `${layer} (layer)`)];
}

/** What hides or repeats parts of /proc and /sys fills a page of its own. */
function showMounts(mounts: readonly MountExplanation[]): readonly string[] {
  const isKernels = ({ target }: MountExplanation): boolean => /^\/(proc|sys)\//.test(target);
  const shown = mounts.filter((mount) => !isKernels(mount));
  const hidden = mounts.length - shown.length;
  return [
    ...columns(shown.map(({ target, type, source, options }) => [target, type, options, source])),
    ...(hidden === 0 ? [] : [`and ${hidden} below /proc and /sys (--json shows them)`]),
  ];
}

function showLog({ logPath, logBytes }: ContainerExplanation): string {
  if (logPath === "") {
    return "none";
  }
  return `${logPath}${logBytes === undefined ? ", no such file" : `, ${showBytes(logBytes)}`}`;
}
