import { BerthError } from "../../errors/berth-error.ts";
import type { StreamTargets } from "../../ports/stream-targets.ts";
import type { LifecycleDeps } from "../deps.ts";
import { runningMonitor } from "./exec.ts";
import { prepareExec } from "./plan/prepare.ts";

/** What exec, attach and port-forward sessions connect to. */
export function createStreamTargets(
  deps: Pick<LifecycleDeps, "objects" | "plan" | "storage">,
): StreamTargets {
  return {
    async running(containerId) {
      const entry = deps.objects.container(containerId);
      runningMonitor(entry);
      const { id, config } = entry.container;
      return { id, tty: config.tty, stdin: config.stdin };
    },
    async exec(containerId, command, request) {
      const entry = deps.objects.container(containerId);
      const monitor = runningMonitor(entry);
      const plan = await prepareExec(deps.plan, entry.container, command, request.tty);
      return await monitor.exec(plan, request);
    },
    async attach(containerId, request) {
      const entry = deps.objects.container(containerId);
      return await runningMonitor(entry).attach(entry.container.id, request);
    },
    async podNetwork(sandboxId) {
      const { sandbox } = deps.objects.pod(sandboxId);
      if (sandbox.status.phase !== "ready") {
        throw new BerthError(
          "wrong-state",
          `pod_sandbox_id ${sandbox.id}: the pod sandbox is ${sandbox.status.phase}`,
        );
      }
      const isHost = sandbox.config.namespaces.network === "NODE";
      return { id: sandbox.id, netnsPath: isHost ? "" : deps.storage.pod(sandbox.id).netns };
    },
  };
}
