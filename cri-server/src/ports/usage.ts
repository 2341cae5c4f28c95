import type { Container } from "../model/container.ts";
import type { Sandbox } from "../model/sandbox.ts";
import type { CgroupUsage } from "./cgroups.ts";
import type { LayerUsage } from "./layer-usage.ts";

/** One container's figures at one moment. */
export interface ContainerUsage {
  readonly container: Container;
  readonly cgroup: CgroupUsage;
  readonly layer: LayerUsage;
}

/** Counters of one network interface. */
export interface InterfaceUsage {
  readonly name: string;
  readonly receivedBytes: bigint;
  readonly receivedPackets: bigint;
  readonly receiveErrors: bigint;
  readonly receiveDropped: bigint;
  readonly sentBytes: bigint;
  readonly sentPackets: bigint;
  readonly sendErrors: bigint;
  readonly sendDropped: bigint;
}

export interface NetworkUsage {
  /** Nanoseconds since the epoch. */
  readonly timestamp: bigint;
  /** Without the loopback; the pod's own (eth0) first. */
  readonly interfaces: readonly InterfaceUsage[];
}

/** One pod's figures at one moment. */
export interface PodUsage {
  readonly sandbox: Sandbox;
  readonly cgroup: CgroupUsage;
  /** undefined: the pod has the host's network. */
  readonly network: NetworkUsage | undefined;
  readonly containers: readonly ContainerUsage[];
}
