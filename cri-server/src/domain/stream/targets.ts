import { BerthError } from "../../errors/berth-error.ts";
import type { StreamTargets } from "../../ports/stream-targets.ts";
import { runningMonitor } from "../container/exec.ts";
import { prepareExec } from "../container/plan/prepare.ts";
import type { LifecycleDeps } from "../deps.ts";

/** The containers and pods of this server, as streaming sees them. */
export function makeStreamTargets(deps: Pick<LifecycleDeps, "objects" | "plan">): StreamTargets {
  const { objects } = deps;
  return {
    async running(containerId) {
      const entry = objects.container(containerId);
      runningMonitor(entry);
      const { id, config } = entry.container;
      return { id, tty: config.tty, stdin: config.stdin };
    },
    async exec(containerId, command, request) {
      const entry = objects.container(containerId);
      const monitor = runningMonitor(entry);
      return await monitor.exec(await prepareExec(deps.plan, entry.container, command, request.tty), request);
    },
    async attach(containerId, request) {
      const entry = objects.container(containerId);
      return await runningMonitor(entry).attach(entry.container.id, request);
    },
    async podNetwork(sandboxId) {
      const { id, status } = objects.pod(sandboxId).sandbox;
      if (status.phase !== "ready") {
        throw new BerthError(
          "wrong-state",
          `pod_sandbox_id ${id}: the pod sandbox is ${status.phase}, not ready`,
        );
      }
      return { id, netnsPath: status.netnsPath ?? "" };
    },
  };
}
