import { BerthError } from "../../errors/berth-error.ts";
import type { ContainerConfig } from "../../model/container.ts";
import type { UserNamespace } from "../../model/namespaces.ts";
import type { SandboxConfig } from "../../model/sandbox.ts";
import type { PodEntry } from "../objects.ts";

const field = "linux.security_context.namespace_options";

/** What only the pod can tell of a container's configuration. */
export function checkAgainstPod(config: ContainerConfig, sandbox: SandboxConfig): void {
  const { namespaces, privileged } = config.security;
  const pod = sandbox.namespaces;
  if (privileged && !sandbox.privileged) {
    throw invalid("linux.security_context.privileged true: the pod sandbox is not privileged");
  }
  for (const name of ["network", "ipc"] as const) {
    if (namespaces[name] === "NODE" && pod[name] !== "NODE") {
      throw invalid(`${field}.${name} NODE: the pod sandbox has its own`);
    }
  }
  if (namespaces.pid === "NODE" && pod.pid !== "NODE") {
    throw invalid(`${field}.pid NODE: the pod sandbox has pid ${pod.pid}`);
  }
  if (namespaces.userns !== undefined && !sameUserns(namespaces.userns, pod.userns)) {
    throw invalid(`${field}.userns_options: differs from the pod sandbox's`);
  }
}

/** Network, IPC and user namespaces are the pod's; a PID namespace is the container's own choice within it. */
export function withPodNamespaces(config: ContainerConfig, sandbox: SandboxConfig): ContainerConfig {
  const pod = sandbox.namespaces;
  const own = config.security.namespaces;
  // A pod without a PID namespace to share gives each container its own.
  const pid = own.pid === "POD" && pod.pid !== "POD" ? pod.pid : own.pid;
  const namespaces = { ...own, pid, network: pod.network, ipc: pod.ipc };
  return {
    ...config,
    security: {
      ...config.security,
      namespaces: pod.userns === undefined ? namespaces : { ...namespaces, userns: pod.userns },
    },
  };
}

/** PID of the container that namespace_options.target_id names. It has to run in the same pod. */
export function targetPid(config: ContainerConfig, pod: PodEntry): number | undefined {
  const { pid, targetId } = config.security.namespaces;
  if (pid !== "TARGET") {
    return undefined;
  }
  const target = [...pod.containers.values()].find((entry) => entry.container.id === targetId);
  if (target === undefined) {
    throw invalid(`${field}.target_id ${JSON.stringify(targetId)}: no container of this pod`);
  }
  if (target.container.status.phase !== "running") {
    throw new BerthError(
      "wrong-state",
      `${field}.target_id ${targetId}: the container is ${target.container.status.phase}, not running`,
    );
  }
  return target.container.status.pid;
}

function sameUserns(own: UserNamespace, pod: UserNamespace | undefined): boolean {
  const [left, right] = [own.uidMappings[0], pod?.uidMappings[0]];
  return left?.hostId === right?.hostId && left?.length === right?.length;
}

function invalid(message: string): BerthError {
  return new BerthError("invalid-argument", message);
}
