import { BerthError } from "../../errors/berth-error.ts";
import type { ContainerStatus } from "../../model/container.ts";
import type { ProcessIdentity } from "../../model/sandbox.ts";
import type { ExitRecord } from "../../ports/monitor.ts";

/** What can happen to a container. */
export type ContainerEvent =
  | { readonly kind: "created"; readonly process: ProcessIdentity }
  | { readonly kind: "started"; readonly startedAt: bigint }
  | { readonly kind: "exited"; readonly exit: ExitRecord; readonly why?: ExitReason }
  /** An undo step failed: something may be left. */
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "remove" };

/** Said instead of what the exit code alone would say. */
export interface ExitReason {
  readonly reason: string;
  readonly message: string;
}

type Phase = ContainerStatus["phase"];

const from: Readonly<Record<ContainerEvent["kind"], readonly Phase[]>> = {
  created: ["creating"],
  started: ["created"],
  exited: ["created", "running", "unknown"],
  failed: ["creating"],
  remove: ["creating", "created", "running", "exited", "unknown"],
};

/** The only way in which a container's status changes; the diagram is above ContainerStatus. */
export function nextContainerStatus(status: ContainerStatus, event: ContainerEvent): ContainerStatus {
  if (!from[event.kind].includes(status.phase)) {
    throw new BerthError("wrong-state", `the container is ${status.phase}: ${event.kind} is not possible`);
  }
  switch (event.kind) {
    case "created":
      return { phase: "created", pid: event.process.pid, startTime: event.process.startTime };
    case "started":
      if (status.phase !== "created") {
        return status;
      }
      return { phase: "running", pid: status.pid, startTime: status.startTime, startedAt: event.startedAt };
    case "exited":
      return exitedStatus(event.exit, event.why);
    case "failed":
      return { phase: "unknown", message: event.message };
    case "remove":
      return { phase: "removing" };
  }
}

function exitedStatus(exit: ExitRecord, why: ExitReason | undefined): ContainerStatus {
  const { reason, message } = why ?? explain(exit);
  return {
    phase: "exited",
    // The kubelet takes a zero for 1970 in its back-off; a process that never ran started when it ended.
    startedAt: exit.startedAt === 0n ? exit.finishedAt : exit.startedAt,
    finishedAt: exit.finishedAt,
    exitCode: exit.exitCode,
    reason,
    message,
  };
}

function explain(exit: ExitRecord): ExitReason {
  if (exit.oomKilled) {
    return { reason: "OOMKilled", message: "" };
  }
  return { reason: exit.exitCode === 0 ? "Completed" : "Error", message: "" };
}
