import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { outcomeOf, run } from "../lib/command.ts";
import { Crictl } from "../lib/crictl.ts";
import { eventually } from "../lib/eventually.ts";
import { registryAddress } from "../lib/registry.ts";

/** cgroupfs, overlayfs, the default runtime; without CAP_SYS_RESOURCE it starts no pod unless it may clamp the OOM score. */
function configuration(dir: string, binDir: string): string {
  return `version = 2
root = "${dir}/root"
state = "${dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "${dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "${binDir}"
  conf_dir = "${dir}/cni.d"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "${dir}/certs.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "${dir}/runc"
`;
}

function conflist(dir: string): string {
  const ipam = {
    type: "host-local",
    dataDir: `${dir}/networks`,
    ranges: [[{ subnet: "10.199.0.0/16" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const bridge = { type: "bridge", bridge: "peer0", isGateway: true, ipMasq: true, hairpinMode: true, ipam };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  return JSON.stringify({ cniVersion: "1.0.0", name: "peer", plugins: [bridge, portmap] });
}

/** Debian's containerd with its runc and the reference CNI plugins, on folders of its own. */
export class Containerd implements AsyncDisposable {
  readonly dir: string;
  readonly socket: string;
  readonly crictl: Crictl;
  readonly #process: ChildProcess;

  private constructor(dir: string, process: ChildProcess) {
    this.dir = dir;
    this.socket = join(dir, "containerd.sock");
    this.crictl = new Crictl(this.socket);
    this.#process = process;
  }

  /** `network`: another network than the reference plugins', and where its plugins are. */
  static async start(
    registries: readonly string[],
    network?: { readonly conflist: string; readonly binDir: string },
  ): Promise<Containerd> {
    const dir = await mkdtemp(join(process.env.BERTH_TEST_TMP ?? "/tmp", "peer-"));
    await chmod(dir, 0o711);
    for (const registry of registries) {
      await mkdir(join(dir, "certs.d", registry), { recursive: true });
      const host = `[host."http://${registryAddress}"]\n  capabilities = ["pull", "resolve"]\n`;
      await writeFile(
        join(dir, "certs.d", registry, "hosts.toml"),
        `server = "http://${registryAddress}"\n${host}`,
      );
    }
    await mkdir(join(dir, "cni.d"));
    await writeFile(join(dir, "cni.d/10-peer.conflist"), network?.conflist ?? conflist(dir));
    await writeFile(join(dir, "config.toml"), configuration(dir, network?.binDir ?? "/usr/lib/cni"));
    // Its CNI library keeps results where a machine's own runtime would.
    await mkdir("/var/lib/cni", { recursive: true });
    await run("mount", ["-t", "tmpfs", "tmpfs", "/var/lib/cni"]);
    const log = openSync(join(dir, "containerd.log"), "a");
    const child = spawn("containerd", ["--config", join(dir, "config.toml")], {
      stdio: ["ignore", log, log],
    });
    const peer = new Containerd(dir, child);
    await eventually(() => peer.crictl.run("version"), 30_000);
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await outcomeOf("crictl", ["--runtime-endpoint", `unix://${this.socket}`, "rmp", "--all", "--force"]);
    const ended = once(this.#process, "exit");
    this.#process.kill();
    await ended;
    await run("umount", ["/var/lib/cni"]);
    await outcomeOf("ip", ["link", "delete", "peer0"]);
    await outcomeOf("nft", ["flush", "ruleset"]);
    for (const dir of ["/run/containerd", "/run/netns", this.dir])
      await rm(dir, { recursive: true, force: true });
  }
}
