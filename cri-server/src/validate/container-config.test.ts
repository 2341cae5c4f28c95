import { describe, expect, it } from "vitest";
import { ContainerConfig, Signal } from "../../../proto/gen/api.ts";
import type { NamespaceOptions } from "../model/namespaces.ts";
import { toContainerConfig } from "./container-config.ts";

type Partial = Parameters<typeof ContainerConfig.fromPartial>[0];

const pod: NamespaceOptions = { network: "NODE", pid: "CONTAINER", ipc: "POD" };
const valid = (more: Partial = {}) =>
  ContainerConfig.fromPartial({ metadata: { name: "c" }, image: { image: "busybox" }, ...more });
const context = (securityContext: object): Partial => ({ linux: { securityContext } });
const resources = (given: object): Partial => ({ linux: { resources: given } });
const mount = (more: object): Partial => ({ mounts: [{ containerPath: "/m", hostPath: "/h", ...more }] });
const image = { image: "busybox" };

describe("toContainerConfig", () => {
  it("takes the pod's namespaces and hides what is usual when there is no security context", () => {
    const { security } = toContainerConfig(valid(), pod);
    expect(security.namespaces).toEqual(pod);
    expect(security.maskedPaths).toContain("/proc/kcore");
    expect(security.seccomp).toEqual({ kind: "unconfined" });
  });

  it("takes path lists literally when there is one", () => {
    const { security } = toContainerConfig(valid(context({ maskedPaths: ["/x"] })), pod);
    expect(security.maskedPaths).toEqual(["/x"]);
    expect(security.readonlyPaths).toEqual([]);
  });

  it("keeps every byte of an environment value", () => {
    const value = Buffer.from([0xff, 0xfe, 0x80, 0x0a]);
    const { envs } = toContainerConfig(valid({ envs: [{ key: "A", value }] }), pod);
    expect(Buffer.from(envs[0]?.value ?? "", "latin1")).toEqual(value);
  });

  it("takes CDI devices by field and by annotation, each once", () => {
    const { cdiDevices } = toContainerConfig(
      valid({
        CDIDevices: [{ name: "v.com/net=a" }, { name: "v.com/net=a" }],
        annotations: { "cdi.k8s.io/plugin_1": "v.com/net=b,v.com/net=a", other: "v.com/net=c" },
      }),
      pod,
    );
    expect(cdiDevices).toEqual(["v.com/net=a", "v.com/net=b"]);
    const bad = valid({ annotations: { "cdi.k8s.io/x": "v.com/net" } });
    expect(() => toContainerConfig(bad, pod)).toThrow('annotations cdi.k8s.io/x "v.com/net"');
  });

  it("leaves out resources that are zero", () => {
    const { resources: none } = toContainerConfig(
      valid(resources({ cpuShares: 0n, memoryLimitInBytes: 0n })),
      pod,
    );
    expect(none).toEqual({});
  });

  it("keeps a swap limit of -1 and page sizes of 0", () => {
    const given = { memorySwapLimitInBytes: -1n, hugepageLimits: [{ pageSize: "2MB", limit: 0n }] };
    expect(toContainerConfig(valid(resources(given)), pod).resources).toEqual({
      memorySwapLimit: -1n,
      hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
    });
  });

  it("turns CRI's signal numbers into Linux's", () => {
    const signalOf = (stopSignal: Signal) => toContainerConfig(valid({ stopSignal }), pod).stopSignal;
    expect(signalOf(Signal.SIGNAL_RUNTIME_DEFAULT)).toBeUndefined();
    expect(signalOf(Signal.SIGNAL_SIGTERM)).toBe(15);
    expect(signalOf(Signal.SIGNAL_SIGKILL)).toBe(9);
    expect(signalOf(Signal.SIGNAL_SIGRTMIN)).toBe(34);
    expect(signalOf(Signal.SIGNAL_SIGRTMINPLUS3)).toBe(37);
    expect(signalOf(Signal.SIGNAL_SIGRTMAXMINUS14)).toBe(50);
    expect(signalOf(Signal.SIGNAL_SIGRTMAX)).toBe(64);
    for (const [name, number] of Object.entries(Signal)) {
      if (number > 0) {
        expect(signalOf(number), name).toBeGreaterThan(0);
      }
    }
  });

  it("reads both forms of an AppArmor profile, the newer one first", () => {
    const apparmorOf = (given: object) => toContainerConfig(valid(context(given)), pod).security.apparmor;
    expect(apparmorOf({})).toBeUndefined();
    expect(apparmorOf({ apparmorProfile: "localhost/web" })).toEqual({ kind: "localhost", ref: "web" });
    expect(apparmorOf({ apparmorProfile: "localhost/web", apparmor: { profileType: 1 } })).toEqual({
      kind: "unconfined",
    });
  });

  it.each<[string, ContainerConfig | undefined, string]>([
    ["no config", undefined, "config: is missing"],
    ["no metadata", ContainerConfig.fromPartial({ image }), "config.metadata: is missing"],
    ["no name", valid({ metadata: { name: "" } }), "config.metadata.name"],
    ["no image", ContainerConfig.fromPartial({ metadata: { name: "c" } }), "config.image.image"],
    ["a command with NUL", valid({ command: ["a\0b"] }), "config.command"],
    ["an empty program", valid({ command: ["", "x"] }), "config.command"],
    ["a relative working directory", valid({ workingDir: "data" }), "config.working_dir"],
    ["an absolute log path", valid({ logPath: "/etc/passwd" }), "config.log_path"],
    ["a log path that climbs", valid({ logPath: "../x.log" }), "config.log_path"],
    [
      "an environment without a name",
      valid({ envs: [{ key: "", value: Buffer.from("x") }] }),
      "config.envs.key",
    ],
    [
      "an environment name with =",
      valid({ envs: [{ key: "A=B", value: Buffer.from("x") }] }),
      "config.envs.key",
    ],
    [
      "an environment value with NUL",
      valid({ envs: [{ key: "A", value: Buffer.from("x\0") }] }),
      'config.envs "A"',
    ],
    ["HOME with a line break", valid({ envs: [{ key: "HOME", value: Buffer.from("/a\nb") }] }), "HOME"],
    ["stdin_once without stdin", valid({ stdinOnce: true }), "config.stdin_once"],
    ["signal 99", valid({ stopSignal: 99 as never }), "stop_signal 99"],
    ["a relative mount point", valid(mount({ containerPath: "m" })), "mounts[0].container_path"],
    ["a mount on the root", valid(mount({ containerPath: "/" })), "the root itself"],
    ["a mount on the root, in disguise", valid(mount({ containerPath: "/./." })), "the root itself"],
    ["a mount of nothing", valid(mount({ hostPath: "" })), "nothing to mount"],
    ["a relative source", valid(mount({ hostPath: "h" })), "mounts[0].host_path"],
    ["image and host path", valid(mount({ image, readonly: true })), "an image is given too"],
    ["a writable image", valid(mount({ hostPath: "", image })), "an image can only be mounted read-only"],
    [
      "a sub path that climbs",
      valid(mount({ hostPath: "", image, readonly: true, imageSubPath: "../x" })),
      "image_sub_path",
    ],
    ["a sub path of no image", valid(mount({ imageSubPath: "x" })), "no image is given"],
    ["rro without readonly", valid(mount({ recursiveReadOnly: true })), "readonly has to be set"],
    [
      "rro with propagation",
      valid(mount({ recursiveReadOnly: true, readonly: true, propagation: 1 })),
      "has to be PROPAGATION_PRIVATE",
    ],
    ["propagation 7", valid(mount({ propagation: 7 })), "propagation 7"],
    ["an unknown mount option", valid(mount({ mountOptions: ["suid"] })), 'mount_options "suid"'],
    ["uids without gids", valid(mount({ uidMappings: [{ length: 1 }] })), "go together"],
    [
      "device permissions x",
      valid({ devices: [{ containerPath: "/a", hostPath: "/b", permissions: "rx" }] }),
      "permissions",
    ],
    [
      "device permissions rr",
      valid({ devices: [{ containerPath: "/a", hostPath: "/b", permissions: "rr" }] }),
      "permissions",
    ],
    [
      "a relative device",
      valid({ devices: [{ containerPath: "a", hostPath: "/b", permissions: "r" }] }),
      "devices[0]",
    ],
    ["a short CDI name", valid({ CDIDevices: [{ name: "gpu" }] }), "CDI_devices.name"],
    ["cpu_period 10", valid(resources({ cpuPeriod: 10n })), "cpu_period 10"],
    ["cpu_quota 10", valid(resources({ cpuQuota: 10n })), "cpu_quota 10"],
    ["cpu_shares -1", valid(resources({ cpuShares: -1n })), "cpu_shares -1"],
    ["a negative memory limit", valid(resources({ memoryLimitInBytes: -5n })), "memory_limit_in_bytes -5"],
    [
      "a swap limit below memory",
      valid(resources({ memoryLimitInBytes: 5n, memorySwapLimitInBytes: 4n })),
      "memory_swap",
    ],
    ["oom_score_adj 1001", valid(resources({ oomScoreAdj: 1001n })), "oom_score_adj 1001"],
    ["cpuset a", valid(resources({ cpusetCpus: "a" })), "cpuset_cpus"],
    ["page size 2", valid(resources({ hugepageLimits: [{ pageSize: "2" }] })), "page_size"],
    ["unified with a slash", valid(resources({ unified: { "a/b": "1" } })), "unified"],
    ["unified that climbs", valid(resources({ unified: { "..": "1" } })), "unified"],
    ["run_as_user -1", valid(context({ runAsUser: { value: -1n } })), "run_as_user -1"],
    ["run_as_user 2^32-1", valid(context({ runAsUser: { value: 4_294_967_295n } })), "run_as_user"],
    [
      "user and user name",
      valid(context({ runAsUser: { value: 1n }, runAsUsername: "x" })),
      "run_as_username",
    ],
    ["run_as_group alone", valid(context({ runAsGroup: { value: 1n } })), "run_as_group"],
    ["policy 5", valid(context({ supplementalGroupsPolicy: 5 })), "supplemental_groups_policy"],
    ["a relative masked path", valid(context({ maskedPaths: ["proc"] })), "masked_paths"],
    ["pid TARGET without a target", valid(context({ namespaceOptions: { pid: 3 } })), "target_id"],
    [
      "a relative seccomp profile",
      valid(context({ seccomp: { profileType: 2, localhostRef: "x" } })),
      "seccomp",
    ],
    ["an AppArmor profile of no kind", valid(context({ apparmorProfile: "web" })), "apparmor"],
    [
      "an SELinux level that is none",
      valid(context({ selinuxOptions: { level: "high" } })),
      "selinux_options.level",
    ],
    ["Windows", valid({ windows: {} }), "config.windows"],
  ])("refuses %s", (_what, message, complaint) => {
    expect(() => toContainerConfig(message, pod)).toThrow(complaint);
  });
});
