import { describe, expect, it } from "vitest";
import { PodSandboxConfig } from "../../../proto/gen/api.ts";
import { toSandboxConfig } from "./sandbox-config.ts";

type Partial = Parameters<typeof PodSandboxConfig.fromPartial>[0];

const metadata = { name: "n", uid: "u", namespace: "ns", attempt: 1 };
const mapping = { hostId: 100_000, containerId: 0, length: 65_536 };
const valid = (more: Partial = {}) => PodSandboxConfig.fromPartial({ metadata, ...more });
const context = (securityContext: object): Partial => ({ linux: { securityContext } });
const namespaces = (namespaceOptions: object): Partial => context({ namespaceOptions });
const userns = (usernsOptions: object): Partial => namespaces({ usernsOptions });

describe("toSandboxConfig", () => {
  it("takes the least that there is, all namespaces being the pod's", () => {
    expect(toSandboxConfig(valid(), "")).toMatchObject({
      metadata,
      namespaces: { network: "POD", pid: "POD", ipc: "POD" },
      privileged: false,
      cgroupParent: "",
    });
  });

  it("takes all-empty DNS for none, and keeps the rest as it is", () => {
    expect(toSandboxConfig(valid({ dnsConfig: {} }), "").dns).toBeUndefined();
    expect(toSandboxConfig(valid({ dnsConfig: { servers: ["10.0.0.10"] } }), "").dns).toEqual({
      servers: ["10.0.0.10"],
      searches: [],
      options: [],
    });
  });

  it("keeps labels byte for byte", () => {
    const labels = { "io.kubernetes.pod.name": "ü ", "": "empty" };
    expect(toSandboxConfig(valid({ labels }), "").labels).toEqual(labels);
  });

  it("takes a user namespace of one range", () => {
    const config = toSandboxConfig(valid(userns({ mode: 0, uids: [mapping], gids: [mapping] })), "");
    expect(config.namespaces.userns).toEqual({ uidMappings: [mapping], gidMappings: [mapping] });
  });

  const sysctls = (key: string, value = "1"): Partial => ({ linux: { sysctls: { [key]: value } } });
  it.each([
    ["net.ipv4.ip_forward"],
    ["net.ipv4.conf.eth0.forwarding"],
    ["kernel.shmmax"],
    ["kernel.shm_rmid_forced"],
    ["kernel.msgmni"],
    ["kernel.sem"],
    ["fs.mqueue.msg_max"],
    ["kernel.domainname"],
  ])("allows the sysctl %s", (key) => {
    expect(toSandboxConfig(valid(sysctls(key)), "").sysctls).toEqual({ [key]: "1" });
  });

  it.each<[string, PodSandboxConfig | undefined, string]>([
    ["no config", undefined, "config: is missing"],
    ["no metadata", PodSandboxConfig.fromPartial({}), "config.metadata: is missing"],
    ["no name", valid({ metadata: { ...metadata, name: "" } }), 'config.metadata.name "": is empty'],
    ["no uid", valid({ metadata: { ...metadata, uid: "" } }), 'config.metadata.uid "": is empty'],
    ["no namespace", valid({ metadata: { ...metadata, namespace: "" } }), "config.metadata.namespace"],
    ["a long host name", valid({ hostname: "a".repeat(65) }), "hostname"],
    ["a host name with a line break", valid({ hostname: "a\nb" }), 'hostname "a\\nb"'],
    [
      "a relative log directory",
      valid({ logDirectory: "logs" }),
      'log_directory "logs": not an absolute path',
    ],
    ["a log directory that climbs", valid({ logDirectory: "/a/../b" }), "has `..` in it"],
    ["a cgroup parent that climbs", valid({ linux: { cgroupParent: "/a/../../b" } }), "linux.cgroup_parent"],
    ["a search domain with white space", valid({ dnsConfig: { searches: ["a b"] } }), "dns_config.searches"],
    [
      "an option with a line break",
      valid({ dnsConfig: { options: ["a\nnameserver 1"] } }),
      "dns_config.options",
    ],
    ["annotations of 2 MiB", valid({ annotations: { a: "x".repeat(2 ** 21) } }), "annotations"],
    ["host port 65536", valid({ portMappings: [{ hostPort: 65_536, containerPort: 1 }] }), "host_port 65536"],
    ["host port -1", valid({ portMappings: [{ hostPort: -1, containerPort: 1 }] }), "host_port -1"],
    ["container port 0", valid({ portMappings: [{ hostPort: 80, containerPort: 0 }] }), "container_port 0"],
    [
      "a host name as host_ip",
      valid({ portMappings: [{ containerPort: 80, hostIp: "localhost" }] }),
      "host_ip",
    ],
    ["protocol 9", valid({ portMappings: [{ containerPort: 80, protocol: 9 as never }] }), "protocol 9"],
    ["network CONTAINER", valid(namespaces({ network: 1 })), 'network "CONTAINER": neither POD nor NODE'],
    ["ipc TARGET", valid(namespaces({ ipc: 3 })), 'ipc "TARGET": neither POD nor NODE'],
    [
      "pid TARGET",
      valid(namespaces({ pid: 3, targetId: "x" })),
      'pid "TARGET": not possible for a pod sandbox',
    ],
    ["userns CONTAINER", valid(userns({ mode: 1 })), 'userns_options.mode "CONTAINER"'],
    ["userns TARGET", valid(userns({ mode: 3 })), 'userns_options.mode "TARGET"'],
    ["userns without ranges", valid(userns({ mode: 0 })), "not exactly one range"],
    [
      "userns of two ranges",
      valid(userns({ mode: 0, uids: [mapping, mapping], gids: [mapping] })),
      "not exactly one range",
    ],
    [
      "userns without container id 0",
      valid(userns({ mode: 0, uids: [{ ...mapping, containerId: 1 }], gids: [mapping] })),
      "has to start with container id 0",
    ],
    [
      "userns whose gids differ",
      valid(userns({ mode: 0, uids: [mapping], gids: [{ ...mapping, hostId: 1 }] })),
      "differs from uids",
    ],
    [
      "userns beyond the last id",
      valid(userns({ mode: 0, uids: [{ ...mapping, hostId: 4_294_930_000 }], gids: [mapping] })),
      "reaches beyond id",
    ],
    [
      "an empty range",
      valid(userns({ mode: 0, uids: [{ ...mapping, length: 0 }], gids: [mapping] })),
      "empty range",
    ],
    [
      "userns on the host's network",
      valid(namespaces({ network: 2, usernsOptions: { mode: 0, uids: [mapping], gids: [mapping] } })),
      'network "NODE": not possible in a pod with its own user namespace',
    ],
    [
      "mappings with mode NODE",
      valid(userns({ mode: 2, uids: [mapping] })),
      "can't be mapped when mode is NODE",
    ],
    ["a node's sysctl", valid(sysctls("vm.swappiness")), "not namespaced"],
    ["kernel.core_pattern", valid(sysctls("kernel.core_pattern")), "not namespaced"],
    [
      "user.* without a user namespace",
      valid(sysctls("user.max_user_namespaces")),
      "user namespace of the pod's own",
    ],
    ["a sysctl with a slash", valid(sysctls("net/ipv4/ip_forward")), "not the dotted name"],
    ["a sysctl that climbs", valid(sysctls("net...ip_forward")), "not the dotted name"],
    ["a sysctl value with a line break", valid(sysctls("net.core.somaxconn", "1\n2")), "line break"],
    [
      "net.* on the host's network",
      valid({
        linux: {
          sysctls: { "net.core.somaxconn": "1" },
          securityContext: { namespaceOptions: { network: 2 } },
        },
      }),
      "host's network namespace",
    ],
    [
      "kernel.sem in the host's IPC namespace",
      valid({ linux: { sysctls: { "kernel.sem": "1" }, securityContext: { namespaceOptions: { ipc: 2 } } } }),
      "host's IPC namespace",
    ],
    ["run_as_group alone", valid(context({ runAsGroup: { value: 5n } })), "run_as_user is missing"],
    ["run_as_user 2^32", valid(context({ runAsUser: { value: 2n ** 32n } })), "run_as_user 4294967296"],
    [
      "a negative supplemental group",
      valid(context({ supplementalGroups: [-1n] })),
      "supplemental_groups -1",
    ],
    [
      "seccomp Localhost without a path",
      valid(context({ seccomp: { profileType: 2 } })),
      "seccomp.localhost_ref",
    ],
    ["Windows", valid({ windows: {} }), "windows"],
  ])("refuses %s", (_what, message, complaint) => {
    expect(() => toSandboxConfig(message, "")).toThrow(complaint);
  });

  it("knows its handlers", () => {
    expect(toSandboxConfig(valid(), "berth").runtimeHandler).toBe("berth");
    expect(() => toSandboxConfig(valid(), "runc")).toThrow('runtime_handler "runc": unknown');
  });
});
