import type { Duplex } from "node:stream";
import type { AttachSession, ExecSession, SessionRequest } from "./monitor.ts";

/** What a streaming request can be about. */
export interface StreamTargets {
  /** The container's facts. Rejects `container-not-found`, and `wrong-state` unless it runs. Ids may be shortened where clients may. */
  running(
    containerId: string,
  ): Promise<{ readonly id: string; readonly tty: boolean; readonly stdin: boolean }>;
  /** Starts a process in a running container. */
  exec(containerId: string, command: readonly string[], request: SessionRequest): Promise<ExecSession>;
  attach(containerId: string, request: SessionRequest): Promise<AttachSession>;
  /** The pod's network namespace; "" is the host's. Rejects `sandbox-not-found`, and `wrong-state` unless it is ready. */
  podNetwork(sandboxId: string): Promise<{ readonly id: string; readonly netnsPath: string }>;
}

/** Makes connections that start inside a pod. */
export interface PodDialer {
  /** Connects to the port on the pod's localhost, IPv4 first, then IPv6. "" is the host's namespace. */
  dial(netnsPath: string, port: number): Promise<Duplex>;
}
