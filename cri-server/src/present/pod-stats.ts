import type { NetworkInterfaceUsage, NetworkUsage, PodSandboxStats } from "../../../proto/gen/api.ts";
import type { InterfaceUsage, NetworkUsage as Network, PodUsage } from "../ports/usage.ts";
import { presentContainerStats, presentCpu, presentIo, presentMemory } from "./stats.ts";

export function presentPodStats({ sandbox, cgroup, network, containers }: PodUsage): PodSandboxStats {
  const { metadata, labels, annotations } = sandbox.config;
  return {
    attributes: { id: sandbox.id, metadata: { ...metadata }, labels, annotations },
    linux: {
      cpu: presentCpu(cgroup),
      memory: presentMemory(cgroup),
      network: network === undefined ? undefined : presentNetwork(network),
      process: { timestamp: cgroup.timestamp, processCount: { value: cgroup.processes } },
      containers: containers.map(presentContainerStats),
      io: presentIo(cgroup),
    },
    windows: undefined,
  };
}

function presentNetwork({ timestamp, interfaces }: Network): NetworkUsage {
  const [first, ...others] = interfaces.map(presentInterface);
  return { timestamp, defaultInterface: first, interfaces: others };
}

function presentInterface(usage: InterfaceUsage): NetworkInterfaceUsage {
  return {
    name: usage.name,
    rxBytes: { value: usage.receivedBytes },
    rxErrors: { value: usage.receiveErrors },
    txBytes: { value: usage.sentBytes },
    txErrors: { value: usage.sendErrors },
  };
}
