import type { LifecycleDeps } from "./deps.ts";

/** One condition of the runtime, as Status reports it. */
export interface Condition {
  readonly type: "RuntimeReady" | "NetworkReady";
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

/** What a pod may ask for on this host. */
export interface HandlerFeatures {
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

/** Readiness and features, from memory. A server that answers is ready: it recovers before it serves. */
export function runtimeStatus(deps: Pick<LifecycleDeps, "network" | "host">): {
  readonly conditions: readonly Condition[];
  readonly features: HandlerFeatures;
} {
  const network = deps.network.status();
  const networkCondition: Condition = network.ready
    ? { type: "NetworkReady", status: true, reason: "", message: "" }
    : { type: "NetworkReady", status: false, reason: network.reason, message: network.message };
  const { host } = deps;
  return {
    conditions: [{ type: "RuntimeReady", status: true, reason: "", message: "" }, networkCondition],
    features: {
      recursiveReadOnlyMounts: host.recursiveReadOnlyMounts,
      userNamespaces: host.userNamespaces && host.idmappedMounts,
    },
  };
}
