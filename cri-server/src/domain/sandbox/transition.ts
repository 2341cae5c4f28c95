import { BerthError } from "../../errors/berth-error.ts";
import type { ProcessIdentity, SandboxPhase, SandboxStatus } from "../../model/sandbox.ts";

/** What can happen to a sandbox. */
export type SandboxEvent =
  | {
      readonly kind: "ready";
      readonly ips: readonly string[];
      readonly netnsPath: string | undefined;
      readonly monitor: ProcessIdentity;
    }
  | { readonly kind: "stop" }
  /** Its processes are dead and its network is detached. */
  | { readonly kind: "stopped" }
  /** Its monitor is gone, or another boot has taken everything with it. */
  | { readonly kind: "lost"; readonly reason: string }
  /** An undo step failed: something may be left. */
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "remove" };

const from: Readonly<Record<SandboxEvent["kind"], readonly SandboxPhase[]>> = {
  ready: ["creating"],
  stop: ["ready", "stopping", "notready", "unknown"],
  stopped: ["stopping", "notready"],
  lost: ["ready", "stopping", "notready", "unknown"],
  failed: ["creating"],
  remove: ["creating", "ready", "stopping", "notready", "unknown"],
};

/** The only way in which a sandbox's status changes; the diagram is above SandboxPhase. */
export function nextSandboxStatus(status: SandboxStatus, event: SandboxEvent): SandboxStatus {
  if (!from[event.kind].includes(status.phase)) {
    throw new BerthError("wrong-state", `the pod sandbox is ${status.phase}: ${event.kind} is not possible`);
  }
  switch (event.kind) {
    case "ready":
      return {
        ...status,
        phase: "ready",
        ips: event.ips,
        monitor: event.monitor,
        ...(event.netnsPath === undefined ? {} : { netnsPath: event.netnsPath }),
      };
    case "stop":
      return { ...status, phase: "stopping" };
    case "stopped": {
      const { attached: _, ...rest } = status;
      return { ...rest, phase: "notready" };
    }
    case "lost": {
      const { monitor: _, ...rest } = status;
      // A stop that was under way still has the network to detach.
      return { ...rest, phase: status.phase === "stopping" ? "stopping" : "notready", reason: event.reason };
    }
    case "failed":
      return { ...status, phase: "unknown", reason: event.reason };
    case "remove":
      return { ...status, phase: "removing" };
  }
}
