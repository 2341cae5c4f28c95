import type { DnsConfig } from "../../model/sandbox.ts";

/** A pod's resolv.conf; undefined means a copy of the host's. */
export function resolvConf(dns: DnsConfig | undefined): string | undefined {
  if (dns === undefined) {
    return undefined;
  }
  const lines = [
    ...(dns.searches.length === 0 ? [] : [`search ${dns.searches.join(" ")}`]),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...(dns.options.length === 0 ? [] : [`options ${dns.options.join(" ")}`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** A pod's /etc/hosts, for containers that bring none; the kubelet's always do. */
export function hostsFile(hostname: string, ips: readonly string[]): string {
  const lines = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff00::0\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
    ...(hostname === "" ? [] : ips.map((ip) => `${ip}\t${hostname}`)),
  ];
  return `${lines.join("\n")}\n`;
}
