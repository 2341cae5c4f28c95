import { BerthError } from "../../errors/berth-error.ts";
import type { SandboxConfig } from "../../model/sandbox.ts";
import type { AttachRequest } from "../../ports/network.ts";
import { bandwidthOf } from "./bandwidth.ts";
import type { JsonObject, NetworkList, PluginConfig } from "./conflist.ts";

export type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";

/** What names one attachment, apart from the network. */
export interface Attachment {
  readonly containerId: string;
  readonly ifName: string;
  readonly netns: string;
  readonly cniArgs: readonly (readonly [string, string])[];
  readonly capabilityArgs: JsonObject;
}

/** Kubernetes has one interface per pod, and its name is this. */
export const podInterface = "eth0";

/** CNI_ARGS is K=V;K=V without any quoting, so a value can't have either character. */
function checkArgument(field: string, value: string): string {
  if (/[;=]/.test(value)) {
    throw new BerthError("invalid-argument", `${field} ${JSON.stringify(value)} has a ';' or '='`);
  }
  return value;
}

/** The arguments that every Kubernetes runtime sends. IgnoreUnknown lets plugins that don't know them pass. */
function argumentsOf(sandboxId: string, config: SandboxConfig): (readonly [string, string])[] {
  const { metadata } = config;
  return [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", checkArgument("metadata.namespace", metadata.namespace)],
    ["K8S_POD_NAME", checkArgument("metadata.name", metadata.name)],
    ["K8S_POD_INFRA_CONTAINER_ID", sandboxId],
    ["K8S_POD_UID", checkArgument("metadata.uid", metadata.uid)],
  ];
}

/** Every capability argument that this pod has a value for; each plugin gets those that it has asked for. */
export function capabilityArgsOf(config: SandboxConfig, cgroupPath: string): JsonObject {
  const args: Record<string, unknown> = {};
  const exposed = config.portMappings.filter((mapping) => mapping.hostPort > 0);
  if (exposed.length > 0) {
    args.portMappings = exposed.map((mapping) => ({
      hostPort: mapping.hostPort,
      containerPort: mapping.containerPort,
      protocol: mapping.protocol,
      ...(mapping.hostIp === "" ? {} : { hostIP: mapping.hostIp }),
    }));
  }
  const bandwidth = bandwidthOf(config.annotations);
  if (bandwidth !== undefined) {
    args.bandwidth = bandwidth;
  }
  const { dns } = config;
  if (dns !== undefined && dns.servers.length + dns.searches.length + dns.options.length > 0) {
    args.dns = { servers: dns.servers, searches: dns.searches, options: dns.options };
  }
  if (cgroupPath !== "") {
    args.cgroupPath = cgroupPath;
  }
  if (Object.keys(config.annotations).length > 0) {
    args["io.kubernetes.cri.pod-annotations"] = config.annotations;
  }
  return args;
}

/** Rejects `invalid-argument` when the pod's own data can't be told to a plugin. */
export function attachmentOf(request: AttachRequest): Attachment {
  return {
    containerId: request.sandboxId,
    ifName: podInterface,
    netns: request.netnsPath,
    cniArgs: argumentsOf(request.sandboxId, request.config),
    capabilityArgs: capabilityArgsOf(request.config, request.cgroupPath),
  };
}

/** Parameters in the environment (SPEC.md, "Parameters"). */
export function environmentOf(command: Command, attachment?: Attachment): Record<string, string> {
  if (attachment === undefined) {
    return { CNI_COMMAND: command };
  }
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: attachment.containerId,
    CNI_NETNS: attachment.netns,
    CNI_IFNAME: attachment.ifName,
    CNI_ARGS: attachment.cniArgs.map(([key, value]) => `${key}=${value}`).join(";"),
  };
}

/**
 * The configuration that one plugin gets on standard input (SPEC.md, "Deriving execution configuration from plugin
 * configuration"): its own object with unknown keys untouched, without `capabilities`.
 */
export function requestOf(
  list: NetworkList,
  plugin: PluginConfig,
  additions: {
    readonly capabilityArgs?: JsonObject;
    readonly prevResult?: JsonObject;
    readonly extra?: JsonObject;
  },
): Buffer {
  const { capabilities: _never, ...own } = plugin.config;
  const runtimeConfig = Object.fromEntries(
    plugin.capabilities
      .map((name) => [name, additions.capabilityArgs?.[name]] as const)
      .filter(([, value]) => value !== undefined),
  );
  return Buffer.from(
    JSON.stringify({
      ...own,
      name: list.name,
      cniVersion: list.cniVersion,
      ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
      ...(additions.prevResult === undefined ? {} : { prevResult: additions.prevResult }),
      ...additions.extra,
    }),
  );
}
