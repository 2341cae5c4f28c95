import type { DNSConfig, PodSandboxConfig, PodSandboxMetadata } from "../../../proto/gen/api.ts";
import type { DnsConfig, SandboxConfig, SandboxMetadata } from "../model/sandbox.ts";
import type { Check } from "./check.ts";
import { absolutePath, climbs, complain, hasControl, invalid, required, runChecks } from "./check.ts";
import { copyMap, mapSize } from "./labels.ts";
import { toNamespaceOptions } from "./namespaces.ts";
import { toPortMappings } from "./ports.ts";
import { toResources } from "./resources.ts";
import { checkSandboxSecurity } from "./sandbox-security.ts";
import { checkSysctls } from "./sysctls.ts";

/** Names that a RuntimeClass may use for this runtime; "" is the default. */
export const runtimeHandlers: readonly string[] = ["", "berth"];

/** HOST_NAME_MAX. */
const maxHostname = 64;

const checks: readonly Check<PodSandboxConfig>[] = [
  ({ hostname }) =>
    Buffer.byteLength(hostname) > maxHostname
      ? complain("hostname", hostname, `longer than ${maxHostname} bytes`)
      : undefined,
  ({ hostname }) =>
    hostname !== "" && !/^[A-Za-z0-9_.-]+$/.test(hostname)
      ? complain("hostname", hostname, "has characters that no host name can have")
      : undefined,
  ({ logDirectory }) => (logDirectory === "" ? undefined : absolutePath("log_directory", logDirectory)),
  ({ logDirectory }) =>
    climbs(logDirectory) ? complain("log_directory", logDirectory, "has `..` in it") : undefined,
  ({ labels }) => mapSize("labels", labels),
  ({ annotations }) => mapSize("annotations", annotations),
  ({ dnsConfig }) => checkDns(dnsConfig),
  ({ linux }) => checkCgroupParent(linux?.cgroupParent ?? ""),
  ({ linux }) => checkSandboxSecurity(linux?.securityContext),
  ({ windows }) => (windows === undefined ? undefined : "windows: this runtime runs Linux pods"),
];

/** RunPodSandboxRequest's config and runtime_handler as the domain has them. */
export function toSandboxConfig(message: PodSandboxConfig | undefined, handler: string): SandboxConfig {
  const config = required(message, "config");
  const metadata = toMetadata(required(config.metadata, "config.metadata"));
  if (!runtimeHandlers.includes(handler)) {
    throw invalid("runtime_handler", handler, 'unknown; this runtime has only the default and "berth"');
  }
  runChecks(config, checks);
  const linux = config.linux;
  const namespaces = toNamespaceOptions(linux?.securityContext?.namespaceOptions, true);
  const sysctls = linux?.sysctls ?? {};
  runChecks(sysctls, [(given) => checkSysctls(given, namespaces)]);
  const dns = toDns(config.dnsConfig);
  return {
    metadata,
    hostname: config.hostname,
    logDirectory: config.logDirectory,
    ...(dns === undefined ? {} : { dns }),
    portMappings: toPortMappings(config.portMappings),
    labels: copyMap(config.labels),
    annotations: copyMap(config.annotations),
    cgroupParent: linux?.cgroupParent ?? "",
    sysctls: copyMap(sysctls),
    namespaces,
    privileged: linux?.securityContext?.privileged ?? false,
    runtimeHandler: handler,
    ...(linux?.overhead === undefined ? {} : { overhead: toResources(linux.overhead) }),
    ...(linux?.resources === undefined ? {} : { resources: toResources(linux.resources) }),
  };
}

function toMetadata(message: PodSandboxMetadata): SandboxMetadata {
  const { name, uid, namespace, attempt } = message;
  for (const [field, value] of Object.entries({ name, uid, namespace })) {
    // Kubelet and crictl refuse a sandbox status without any of these, so such a pod could never be seen again.
    if (value === "") {
      throw invalid(`config.metadata.${field}`, value, "is empty");
    }
    if (hasControl(value) || Buffer.byteLength(value) > 1024) {
      throw invalid(
        `config.metadata.${field}`,
        value,
        "has a NUL or line break in it or is longer than 1024",
      );
    }
  }
  return { name, uid, namespace, attempt };
}

/** Nil and all empty both mean the host's own resolv.conf. */
function toDns(message: DNSConfig | undefined): DnsConfig | undefined {
  if (message === undefined) {
    return undefined;
  }
  const { servers, searches, options } = message;
  return servers.length + searches.length + options.length === 0
    ? undefined
    : { servers: [...servers], searches: [...searches], options: [...options] };
}

/** Each becomes a word of a line in resolv.conf. */
function checkDns(message: DNSConfig | undefined): string | undefined {
  if (message === undefined) {
    return undefined;
  }
  const { servers, searches, options } = message;
  for (const [field, words] of Object.entries({ servers, searches, options })) {
    const bad = words.find((word) => !/^[^\s\0]+$/.test(word));
    if (bad !== undefined) {
      return complain(`dns_config.${field}`, bad, "is empty or has white space in it");
    }
  }
  return undefined;
}

function checkCgroupParent(parent: string): string | undefined {
  const field = "linux.cgroup_parent";
  if (climbs(parent)) {
    return complain(field, parent, "has `..` in it");
  }
  if (hasControl(parent) || Buffer.byteLength(parent) > 3000) {
    return complain(field, parent, "has a NUL or line break in it or is longer than 3000 bytes");
  }
  return undefined;
}
