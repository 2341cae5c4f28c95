import type { PodSandbox, PodSandboxNetworkStatus, PodSandboxStatus } from "../../../proto/gen/api.ts";
import { PodSandboxState } from "../../../proto/gen/api.ts";
import type { Sandbox } from "../model/sandbox.ts";
import { presentNamespaces } from "./namespaces.ts";

/** A row of ListPodSandbox. */
export function presentSandbox(sandbox: Sandbox): PodSandbox {
  return {
    id: sandbox.id,
    metadata: { ...sandbox.config.metadata },
    state: stateOf(sandbox),
    createdAt: sandbox.createdAt,
    labels: sandbox.config.labels,
    annotations: sandbox.config.annotations,
    runtimeHandler: sandbox.config.runtimeHandler,
  };
}

export function presentSandboxStatus(sandbox: Sandbox): PodSandboxStatus {
  return {
    id: sandbox.id,
    metadata: { ...sandbox.config.metadata },
    state: stateOf(sandbox),
    createdAt: sandbox.createdAt,
    network: networkOf(sandbox),
    linux: { namespaces: { options: presentNamespaces(sandbox.config.namespaces) } },
    labels: sandbox.config.labels,
    annotations: sandbox.config.annotations,
    runtimeHandler: sandbox.config.runtimeHandler,
  };
}

function stateOf(sandbox: Sandbox): PodSandboxState {
  return sandbox.status.phase === "ready" ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

/** Bare addresses, primary first. A pod on the host's network has none of its own. */
function networkOf(sandbox: Sandbox): PodSandboxNetworkStatus {
  const [ip = "", ...others] = sandbox.status.ips;
  return { ip, additionalIps: others.map((other) => ({ ip: other })) };
}
