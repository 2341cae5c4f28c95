import type {
  ContainerExplanation,
  MonitorExplanation,
  NamespaceExplanation,
  NetworkExplanation,
  PendingWork,
  PodExplanation,
} from "../model/explanation.ts";
import { ago, columns, Page, showSteps } from "./page.ts";
import { showBytes } from "./progress-bar.ts";

/** The page about a pod. */
export function podPage(pod: PodExplanation, containers: readonly ContainerExplanation[], now: Date): string {
  const page = new Page();
  const problems = [
    ...pod.problems,
    ...containers.flatMap(({ name, problems: own }) => own.map((problem) => `${name}: ${problem}`)),
  ];
  page.title(`pod ${pod.namespace}/${pod.name}  ${pod.id.slice(0, 13)}  ${pod.state}`);
  page.section("problems", problems);
  page.section("id", [`${pod.id}, attempt ${pod.attempt}, uid ${pod.uid}`]);
  page.section("reason", pod.reason === "" ? [] : [pod.reason]);
  page.section("history", columns(pod.milestones.map(({ at, what }) => [at, ago(at, now), what])));
  page.section("steps", showSteps(pod.steps));
  page.section("monitor", [showMonitor(pod.monitor)]);
  page.section("namespaces", showNamespaces(pod.namespaces));
  page.section("cgroup", [`${pod.cgroupParent} (parent of its containers)`]);
  page.section("network", pod.network === undefined ? ["the host's"] : showNetwork(pod.network));
  page.section("files", [pod.directory, ...(pod.logDirectory === "" ? [] : [`${pod.logDirectory} (logs)`])]);
  page.section(
    "containers",
    columns(
      containers.map(({ name, id, state, image, process, exit }) => [
        name,
        id.slice(0, 13),
        state,
        process === undefined ? "" : `pid ${process.pid}`,
        exit === undefined ? image : `exit code ${exit.code}, ${exit.reason}; ${image}`,
      ]),
    ),
  );
  page.section("pending", showPending(pod.pending));
  return page.toString();
}

function showMonitor(monitor: MonitorExplanation | undefined): string {
  if (monitor === undefined) {
    return "none";
  }
  const { pid, alive, connected, answeredMs, residentBytes } = monitor;
  if (!alive) {
    return `pid ${pid}, gone`;
  }
  const answer = answeredMs === undefined ? "does not answer" : `answered in ${answeredMs} ms`;
  return `pid ${pid}, ${connected ? answer : "not connected"}, ${showBytes(residentBytes ?? 0)} resident`;
}

/** One line each: kind, inode, whose, and who else is in it. */
export function showNamespaces(namespaces: readonly NamespaceExplanation[]): readonly string[] {
  return columns(
    namespaces.map(({ kind, inode, whose, sharedBy }) => [
      kind,
      inode,
      whose,
      sharedBy.length === 0 ? "" : `with ${sharedBy.join(", ")}`,
    ]),
  );
}

function showNetwork({
  ips,
  netns,
  attachments,
  interfaces,
  routes,
  hostPorts,
}: NetworkExplanation): readonly string[] {
  return [
    ips.length === 0 ? "no address" : ips.join(", "),
    `pinned at ${netns}`,
    ...attachments.map(
      ({ network, ifName, chain, complete }) =>
        `CNI network ${network}: ${chain.join(" -> ")} for ${ifName}${complete ? "" : ", not complete"}`,
    ),
    ...columns(
      interfaces.map(({ name, up, mtu, mac, addresses, hostLink }) => [
        name,
        up ? "up" : "down",
        `mtu ${mtu}`,
        mac,
        addresses.join(", "),
        hostLink === "" ? "" : `host end ${hostLink}`,
      ]),
    ),
    ...routes.map((route) => `route ${route}`),
    ...hostPorts.map((port) => `host port ${port} (nft)`),
  ];
}

/** Work that goes on behind answers. */
export function showPending(pending: readonly PendingWork[]): readonly string[] {
  return pending.map(({ key, failures, since, error }) => {
    const [what = key] = key.split(" ");
    return failures === 0
      ? `${what}: under way`
      : `${what}: failed ${failures} times since ${since ?? "?"}: ${error ?? ""}`;
  });
}
