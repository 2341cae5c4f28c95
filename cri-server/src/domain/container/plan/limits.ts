import type { ContainerConfig } from "../../../model/container.ts";
import type { ResourceLimit } from "../../../model/plan.ts";
import type { Resources } from "../../../model/resources.ts";
import type { HostFacts } from "../../../ports/host.ts";

/** The container's resources with the configured number of processes where it names none. */
export function resolveResources(config: Pick<ContainerConfig, "resources">, pidsLimit: number): Resources {
  if (config.resources.pidsLimit !== undefined || pidsLimit <= 0) return config.resources;
  return { ...config.resources, pidsLimit: BigInt(pidsLimit) };
}

export interface OomScore {
  readonly value: number;
  /** The value that was asked for and can't be given. */
  readonly clampedFrom: number | undefined;
}

/** oom_score_adj, set always, so that nothing is inherited from the server. Without CAP_SYS_RESOURCE it can't be lowered. */
export function resolveOomScore(
  resources: Pick<Resources, "oomScoreAdj">,
  host: Pick<HostFacts, "oomScoreAdj" | "canLowerOomScore">,
): OomScore {
  const wanted = resources.oomScoreAdj ?? 0;
  if (host.canLowerOomScore || wanted >= host.oomScoreAdj) return { value: wanted, clampedFrom: undefined };
  return { value: host.oomScoreAdj, clampedFrom: wanted };
}

/** RLIMIT_NOFILE, asm-generic/resource.h. */
const rlimitNofile = 7;

/**
 * Open files as systemd gives them to services: few by default (programs that use select(2) or close every possible
 * descriptor break or crawl with more), many on request. The server's own soft limit, which Node raises, isn't passed on.
 */
export function defaultRlimits(host: Pick<HostFacts, "maxOpenFiles">): readonly ResourceLimit[] {
  const most = 1_048_576n;
  const hard = host.maxOpenFiles < most ? host.maxOpenFiles : most;
  const soft = hard < 1024n ? hard : 1024n;
  return [{ resource: rlimitNofile, soft, hard }];
}
