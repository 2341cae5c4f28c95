import { BerthError } from "../../errors/berth-error.ts";
import type {
  Explanation,
  Milestone,
  MonitorExplanation,
  NetworkExplanation,
  PodExplanation,
} from "../../model/explanation.ts";
import type { Sandbox } from "../../model/sandbox.ts";
import type { NamespaceInodes, ProcessFacts } from "../../ports/inspection.ts";
import type { PodEntry } from "../objects.ts";
import { explainContainer } from "./container.ts";
import type { ExplainDeps } from "./deps.ts";
import { findSubject } from "./find.ts";
import { explainMonitor, monitorProblems } from "./monitor.ts";
import { explainNamespaces } from "./namespaces.ts";
import { pendingOf, pendingProblems } from "./pending.ts";
import { isoTime } from "./time.ts";

/** Explains the pod or container that `word` means (see findSubject). Looks only, and takes no lock: it shows a moment. */
export async function explain(deps: ExplainDeps, word: string): Promise<Explanation> {
  const subject = findSubject(deps.objects, word);
  const pod = subject.kind === "pod" ? subject.pod : subject.container.pod;
  const [monitor, processes] = await Promise.all([explainMonitor(deps, pod), processesOf(deps, pod)]);
  const held = monitor?.alive ? await deps.inspection.heldNamespaces(monitor.pid) : {};
  const owners = { host: deps.inspection.ownNamespaces, pod: podNamespaces(pod.sandbox, held) };
  const names = new Map(
    [...pod.containers.values()].map(({ container }) => [
      container.id as string,
      container.config.metadata.name,
    ]),
  );
  const chosen = subject.kind === "pod" ? [...pod.containers.values()] : [subject.container];
  const knows = monitor?.answeredMs === undefined ? undefined : monitor.knows;
  const [podPage, ...containers] = await Promise.all([
    explainPod(deps, pod, { monitor, owners, processes, names }),
    ...chosen.map((entry) => explainContainer(deps, entry, { owners, processes, names, knows })),
  ]);
  return { subject: subject.kind, pod: podPage, containers };
}

/** The processes of containers that live, by container id. A pid that another process has by now is none. */
async function processesOf(deps: ExplainDeps, pod: PodEntry): Promise<ReadonlyMap<string, ProcessFacts>> {
  const found = new Map<string, ProcessFacts>();
  for (const { container } of pod.containers.values()) {
    const { status } = container;
    if (status.phase !== "running" && status.phase !== "created") {
      continue;
    }
    const process = await deps.inspection.process(status.pid);
    if (process !== undefined && process.startTime === status.startTime) {
      found.set(container.id, process);
    }
  }
  return found;
}

/** Of what the monitor holds, that which is the pod's: it asked for these kinds. */
function podNamespaces({ config }: Sandbox, held: NamespaceInodes): NamespaceInodes {
  const { network, ipc, pid, userns } = config.namespaces;
  const wanted = {
    net: network === "POD",
    uts: network === "POD",
    ipc: ipc === "POD",
    pid: pid === "POD",
    user: userns !== undefined,
  };
  const entries = Object.entries(wanted).flatMap(([kind, isWanted]) => {
    const inode = held[kind as keyof typeof wanted];
    return isWanted && inode !== undefined ? [[kind, inode] as const] : [];
  });
  return Object.fromEntries(entries);
}

interface PodParts {
  readonly monitor: MonitorExplanation | undefined;
  readonly owners: { readonly host: NamespaceInodes; readonly pod: NamespaceInodes };
  readonly processes: ReadonlyMap<string, ProcessFacts>;
  readonly names: ReadonlyMap<string, string>;
}

async function explainPod(deps: ExplainDeps, pod: PodEntry, parts: PodParts): Promise<PodExplanation> {
  const { sandbox, steps } = pod;
  const { id, config, status } = sandbox;
  const { monitor, owners, processes, names } = parts;
  const problems: string[] = status.phase === "ready" ? [...monitorProblems(monitor)] : [];
  const network =
    config.namespaces.network === "POD" ? await explainNetwork(deps, sandbox, problems) : undefined;
  const pinned = owners.pod.net;
  if (
    network !== undefined &&
    pinned !== undefined &&
    network.pinned !== undefined &&
    network.pinned !== pinned
  ) {
    problems.push(`${network.netns} pins net:[${network.pinned}], but its monitor holds net:[${pinned}]`);
  }
  const pending = pendingOf(deps.background, id);
  const sharing = [...processes].map(([container, { namespaces }]) => ({
    name: names.get(container) ?? container,
    namespaces,
  }));
  return {
    id,
    ...config.metadata,
    state: status.phase,
    reason: status.reason ?? "",
    milestones: milestonesOf(pod),
    ...(steps === undefined ? {} : { steps }),
    ...(monitor === undefined ? {} : { monitor }),
    namespaces: explainNamespaces(owners.pod, owners, sharing),
    cgroupParent: sandbox.cgroupParent,
    ...(network === undefined ? {} : { network: network.shown }),
    directory: deps.storage.pod(id).dir,
    logDirectory: config.logDirectory,
    pending,
    problems: [
      ...(status.phase === "unknown" && status.reason !== undefined ? [status.reason] : []),
      ...problems,
      ...pendingProblems(pending),
    ],
  };
}

/** The pod's own life and its containers', in order. */
function milestonesOf({ sandbox, containers }: PodEntry): readonly Milestone[] {
  const found = [{ at: sandbox.createdAt, what: "the pod was asked for" }];
  for (const { container } of containers.values()) {
    const { name, attempt } = container.config.metadata;
    const label = attempt === 0 ? name : `${name} (attempt ${attempt})`;
    found.push({ at: container.createdAt, what: `${label}: create was asked for` });
    const { status } = container;
    if (status.phase === "running") {
      found.push({ at: status.startedAt, what: `${label}: started` });
    } else if (status.phase === "exited") {
      found.push({
        at: status.finishedAt,
        what: `${label}: ended with exit code ${status.exitCode}: ${status.reason}`,
      });
    }
  }
  return found
    .toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
    .map(({ at, what }) => ({ at: isoTime(at), what }));
}

interface NetworkFound {
  readonly shown: NetworkExplanation;
  readonly netns: string;
  readonly pinned: string | undefined;
}

async function explainNetwork(
  deps: ExplainDeps,
  { id, status }: Sandbox,
  problems: string[],
): Promise<NetworkFound> {
  const { netns } = deps.storage.pod(id);
  const [pinned, attachments, hostPorts] = await Promise.all([
    deps.inspection.pinned(netns),
    deps.network.attachments(id),
    orProblem(deps.inspection.hostPorts(id), [], problems),
  ]);
  const isLive = status.phase === "ready";
  const inside =
    pinned === undefined
      ? { interfaces: [], routes: [] }
      : await orProblem(deps.inspection.network(netns), { interfaces: [], routes: [] }, problems);
  if (isLive && pinned === undefined) {
    problems.push(`no network namespace is pinned at ${netns}`);
  }
  if (isLive && !attachments.some(({ complete }) => complete)) {
    problems.push("no result of a CNI ADD is kept: DEL will go by the present configuration");
  }
  const present = new Set(
    inside.interfaces.flatMap(({ addresses }) => addresses.map((address) => address.replace(/\/\d+$/, ""))),
  );
  for (const ip of isLive && pinned !== undefined ? status.ips : []) {
    if (!present.has(ip)) {
      problems.push(`no interface has the pod's address ${ip}`);
    }
  }
  return { shown: { ips: status.ips, netns, attachments, ...inside, hostPorts }, netns, pinned };
}

/** What can't be looked at is a problem to show, and no reason to show nothing. */
async function orProblem<T>(look: Promise<T>, fallback: T, problems: string[]): Promise<T> {
  try {
    return await look;
  } catch (error) {
    problems.push(error instanceof BerthError || error instanceof Error ? error.message : String(error));
    return fallback;
  }
}
