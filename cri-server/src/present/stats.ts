import type {
  ContainerAttributes,
  ContainerStats,
  CpuUsage,
  IoUsage,
  MemoryUsage,
  PsiData,
  PsiStats,
  SwapUsage,
} from "../../../proto/gen/api.ts";
import type { Container } from "../model/container.ts";
import type { CgroupUsage, Psi, PsiLine } from "../ports/cgroups.ts";
import type { ContainerUsage } from "../ports/usage.ts";

export function presentContainerStats(usage: ContainerUsage): ContainerStats {
  return { ...presentFigures(usage), attributes: presentAttributes(usage.container) };
}

/** What never changes of a container's figures: whose they are. */
export function presentAttributes({ id, config }: Container): ContainerAttributes {
  return { id, metadata: { ...config.metadata }, labels: config.labels, annotations: config.annotations };
}

/** The rest. */
export function presentFigures({ cgroup, layer }: ContainerUsage): ContainerStats {
  return {
    attributes: undefined,
    cpu: presentCpu(cgroup),
    memory: presentMemory(cgroup),
    writableLayer: {
      timestamp: layer.timestamp,
      fsId: { mountpoint: layer.mountpoint },
      usedBytes: { value: layer.usedBytes },
      inodesUsed: { value: layer.usedInodes },
    },
    swap: presentSwap(cgroup),
    io: presentIo(cgroup),
  };
}

export function presentCpu(usage: CgroupUsage): CpuUsage {
  return {
    timestamp: usage.timestamp,
    usageCoreNanoSeconds: { value: usage.cpuTotal },
    // Clients that want a rate make it of two readings; one that we made up would hide the gaps between theirs.
    usageNanoCores: undefined,
    psi: presentPsi(usage.psi.cpu),
  };
}

export function presentMemory(usage: CgroupUsage): MemoryUsage {
  return {
    timestamp: usage.timestamp,
    workingSetBytes: { value: usage.memoryWorkingSet },
    availableBytes:
      usage.memoryLimit === undefined
        ? undefined
        : { value: floor(usage.memoryLimit - usage.memoryWorkingSet) },
    usageBytes: { value: usage.memoryUsage },
    rssBytes: { value: usage.memoryRss },
    pageFaults: { value: usage.pageFaults },
    majorPageFaults: { value: usage.majorPageFaults },
    psi: presentPsi(usage.psi.memory),
  };
}

function presentSwap(usage: CgroupUsage): SwapUsage {
  return {
    timestamp: usage.timestamp,
    swapAvailableBytes:
      usage.swapLimit === undefined ? undefined : { value: floor(usage.swapLimit - usage.swapUsage) },
    swapUsageBytes: { value: usage.swapUsage },
  };
}

export function presentIo(usage: CgroupUsage): IoUsage {
  return { timestamp: usage.timestamp, psi: presentPsi(usage.psi.io) };
}

function presentPsi(psi: Psi | undefined): PsiStats | undefined {
  return psi === undefined ? undefined : { Full: presentPsiLine(psi.full), Some: presentPsiLine(psi.some) };
}

function presentPsiLine(line: PsiLine): PsiData {
  return { Total: line.total, Avg10: line.avg10, Avg60: line.avg60, Avg300: line.avg300 };
}

function floor(value: bigint): bigint {
  return value < 0n ? 0n : value;
}
