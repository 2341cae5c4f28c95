import { BerthError } from "../../../errors/berth-error.ts";
import type { ContainerConfig } from "../../../model/container.ts";
import type { NamespaceChoice, NamespacePlan } from "../../../model/plan.ts";
import type { HostFacts } from "../../../ports/host.ts";

export interface NamespaceInput {
  readonly config: Pick<ContainerConfig, "annotations" | "security">;
  readonly podAnnotations: Readonly<Record<string, string>>;
  /** PID (in the server's namespace) of the container that pid TARGET names. */
  readonly targetPid: number | undefined;
  readonly host: Pick<HostFacts, "timeNamespaces">;
}

const monotonicKey = "time.berth.dev/monotonic-offset-seconds";
const boottimeKey = "time.berth.dev/boottime-offset-seconds";

/** Which namespaces the container's process lives in. */
export function resolveNamespaces(input: NamespaceInput): NamespacePlan {
  const { namespaces, privileged } = input.config.security;
  const time = timeOffsets(input);
  return {
    network: namespaces.network === "NODE" ? "host" : "pod",
    ipc: namespaces.ipc === "NODE" ? "host" : "pod",
    // CRI has no option for it: the UTS namespace follows the network (a pod on the host's network has the host's name).
    uts: namespaces.network === "NODE" ? "host" : "pod",
    pid: pidChoice(input),
    // A privileged container manages the host's groups, as node agents and nested runtimes expect.
    cgroup: privileged ? "host" : "new",
    user: namespaces.userns === undefined ? "host" : "pod",
    ...(time === undefined ? {} : { time }),
  };
}

function pidChoice({ config, targetPid }: NamespaceInput): NamespaceChoice {
  const { pid, targetId } = config.security.namespaces;
  switch (pid) {
    case "CONTAINER":
      return "new";
    case "POD":
      return "pod";
    case "NODE":
      return "host";
    case "TARGET":
      if (targetPid === undefined) {
        throw new BerthError(
          "invalid-argument",
          `namespace_options.target_id: container ${JSON.stringify(targetId ?? "")} is not running in this pod`,
        );
      }
      return { joinPid: targetPid };
  }
}

function timeOffsets(input: NamespaceInput): NamespacePlan["time"] {
  const monotonic = offset(input, monotonicKey);
  const boottime = offset(input, boottimeKey);
  if (monotonic === undefined && boottime === undefined) return undefined;
  if (!input.host.timeNamespaces) {
    throw new BerthError(
      "invalid-argument",
      `annotation ${monotonicKey}: this kernel has no time namespaces`,
    );
  }
  return { monotonicSeconds: monotonic ?? 0n, boottimeSeconds: boottime ?? 0n };
}

function offset({ config, podAnnotations }: NamespaceInput, key: string): bigint | undefined {
  const own = Object.hasOwn(config.annotations, key) ? config.annotations[key] : undefined;
  const text = own ?? (Object.hasOwn(podAnnotations, key) ? podAnnotations[key] : undefined);
  if (text === undefined) return undefined;
  // The kernel refuses anything near the end of its range (KTIME_SEC_MAX / 2, time_namespaces(7)).
  if (/^-?[0-9]{1,10}$/.test(text) && BigInt(text) <= 4_611_686_018n) return BigInt(text);
  throw new BerthError(
    "invalid-argument",
    `annotation ${key}: ${JSON.stringify(text)} is not a number of seconds`,
  );
}
