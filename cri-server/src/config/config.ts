import type { MetricsAddress } from "./metrics-address.ts";

/** The whole configuration, resolved: every path absolute, every default filled in. load.ts makes it, compose.ts passes parts down. */
export interface Config {
  /** Unix socket of the CRI server. */
  readonly socket: string;
  /** What must outlive a reboot: images, records, leases. Default /var/lib/berth. */
  readonly root: string;
  /** What belongs to this boot: pods' sockets, mounts, logs of monitors. Default /run/berth. */
  readonly state: string;
  /** Where pods' network namespaces are pinned. Default /run/netns. */
  readonly netnsDir: string;
  /** Directory with the native programs (berth-native, berth-unpack) and the CNI plugin. */
  readonly nativeDir: string;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error";
  readonly cni: CniConfig;
  readonly registry: RegistryConfig;
  readonly runtime: RuntimeConfig;
  readonly stream: StreamConfig;
  readonly metrics: MetricsConfig;
}

export interface MetricsConfig {
  /** Missing: nothing is counted or served. */
  readonly address: MetricsAddress | undefined;
}

export interface CniConfig {
  /** Default /etc/cni/net.d. */
  readonly confDir: string;
  /** Default /opt/cni/bin, /usr/lib/cni. Searched in order; nativeDir is always searched last. */
  readonly binDirs: readonly string[];
  /** Results cache; default /var/lib/cni/results's parent: /var/lib/cni. */
  readonly cacheDir: string;
  /** Socket of the resident CNI worker that berthd itself serves. Default <state>/cni.sock. */
  readonly workerSocket: string;
  readonly timeoutSeconds: number;
}

export interface RegistryConfig {
  /** hosts.toml directories as containerd users have them; default /etc/berth/certs.d, else /etc/containerd/certs.d. */
  readonly certsDir: string;
  /** Credentials of the runtime itself, as docker and podman write them. */
  readonly authFile: string;
  /** Which images must be signed, and by whom. */
  readonly policyFile: string;
  readonly maxConcurrentDownloads: number;
  readonly stallTimeoutSeconds: number;
  readonly pinned: readonly string[];
}

export interface RuntimeConfig {
  /** Parent of pods that name none. Default /berth. */
  readonly defaultCgroupParent: string;
  readonly cgroupDriver: "auto" | "cgroupfs" | "systemd";
  readonly pidsLimit: number;
  /** Absolute path of a seccomp profile (Docker/OCI JSON) that replaces the built-in RuntimeDefault; "" built-in. */
  readonly seccompProfile: string;
  readonly maxLogLineBytes: number;
  readonly shmBytes: number;
  /** What a container may write beside its volumes; 0 no limit. */
  readonly writableLayerBytes: number;
  /** Namespace sets kept ready. */
  readonly poolSize: number;
  /** Default /etc/cdi, /var/run/cdi; a later one wins. */
  readonly cdiSpecDirs: readonly string[];
}

export interface StreamConfig {
  /** Default 127.0.0.1. */
  readonly address: string;
  /** 0: any free port. */
  readonly port: number;
  readonly idleTimeoutSeconds: number;
  /** "" : plain HTTP. */
  readonly tlsCert: string;
  readonly tlsKey: string;
}
