import { isIP } from "node:net";
import type { PortMapping as PortMappingMessage } from "../../../proto/gen/api.ts";
import { Protocol } from "../../../proto/gen/api.ts";
import type { PortMapping } from "../model/sandbox.ts";
import { invalid } from "./check.ts";

/** port_mappings, each checked. Those with host_port 0 are kept: they say what the pod listens on. */
export function toPortMappings(messages: readonly PortMappingMessage[]): readonly PortMapping[] {
  return messages.map((message, index) => toPortMapping(message, `port_mappings[${index}]`));
}

function toPortMapping(message: PortMappingMessage, field: string): PortMapping {
  const { containerPort, hostPort, hostIp } = message;
  if (hostPort < 0 || hostPort > 65535) {
    throw invalid(`${field}.host_port`, hostPort, "not within 0..65535");
  }
  const lowest = hostPort === 0 ? 0 : 1;
  if (containerPort < lowest || containerPort > 65535) {
    throw invalid(`${field}.container_port`, containerPort, `not within ${lowest}..65535`);
  }
  if (hostIp !== "" && isIP(hostIp) === 0) {
    throw invalid(`${field}.host_ip`, hostIp, "not an IP address");
  }
  return { protocol: protocolOf(message.protocol, field), containerPort, hostPort, hostIp };
}

function protocolOf(protocol: number, field: string): PortMapping["protocol"] {
  switch (protocol) {
    case Protocol.TCP:
      return "tcp";
    case Protocol.UDP:
      return "udp";
    case Protocol.SCTP:
      return "sctp";
    default:
      throw invalid(`${field}.protocol`, protocol, "neither TCP, UDP nor SCTP");
  }
}
