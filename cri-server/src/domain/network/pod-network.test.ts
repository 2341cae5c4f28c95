import { describe, expect, it } from "vitest";
import type { SandboxConfig } from "../../model/sandbox.ts";
import type { AttachmentCache, CachedAttachment, ConfigFile, PluginCall } from "../../ports/cni.ts";
import type { Logger } from "../../ports/logger.ts";
import { type CniNetwork, createPodNetwork } from "./pod-network.ts";

const id = "a".repeat(64);
const silent: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silent,
};
const config: SandboxConfig = {
  metadata: { name: "web", uid: "u1", namespace: "default", attempt: 0 },
  hostname: "web",
  logDirectory: "",
  dns: { servers: ["10.0.0.10"], searches: [], options: [] },
  portMappings: [
    { protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "" },
    { protocol: "tcp", containerPort: 81, hostPort: 0, hostIp: "" },
  ],
  labels: {},
  annotations: { "kubernetes.io/egress-bandwidth": "1M" },
  cgroupParent: "",
  sysctls: {},
  namespaces: { network: "POD", pid: "CONTAINER", ipc: "POD" },
  privileged: false,
  runtimeHandler: "",
};
const result = {
  cniVersion: "1.1.0",
  interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
  ips: [{ address: "10.1.0.2/16", interface: 0 }],
};
const conflist = {
  cniVersion: "1.1.0",
  name: "net",
  plugins: [
    { type: "first", capabilities: { portMappings: true, dns: false }, own: { kept: [1] } },
    { type: "second", capabilities: { bandwidth: true, dns: true, cgroupPath: true } },
  ],
};

interface Seen {
  readonly type: string;
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Record<string, unknown>;
}

/** A network over recorded plugins, and everything around it in memory. */
function fixture(files: ConfigFile[], answer: (call: Seen) => object | string | undefined = () => result) {
  const calls: Seen[] = [];
  const stored = new Map<string, CachedAttachment>();
  const key = (entry: CachedAttachment) => `${entry.networkName}-${entry.containerId}`;
  let changed = () => {};
  const cache: AttachmentCache = {
    put: async (entry) => void stored.set(key(entry), entry),
    find: async (containerId) => [...stored.values()].filter((entry) => entry.containerId === containerId),
    list: async () => [...stored.values()],
    remove: async (entry) => void stored.delete(key(entry)),
  };
  const network: CniNetwork = createPodNetwork({
    config: { timeoutSeconds: 5 },
    log: silent,
    cache,
    directory: {
      path: "/etc/cni/net.d",
      read: async () => files,
      readFragments: async () => [],
      watch: (listener) => {
        changed = listener;
      },
      close() {},
    },
    runner: {
      searched: ["/opt/cni/bin"],
      missing: async (types) => types.filter((type) => type === "absent"),
      async run(call: PluginCall) {
        const seen = {
          type: call.type,
          command: call.env.CNI_COMMAND ?? "",
          env: call.env,
          stdin: JSON.parse(call.stdin.toString()),
        };
        calls.push(seen);
        const reply = answer(seen);
        const failed = typeof reply === "string";
        const stdout = failed ? JSON.stringify({ code: 7, msg: reply }) : JSON.stringify(reply ?? null);
        return {
          exitCode: failed ? 1 : 0,
          stdout: Buffer.from(stdout),
          stderr: Buffer.of(),
          timedOut: false,
        };
      },
    },
  });
  const attach = (sandboxId = id) =>
    network.attach({ sandboxId, netnsPath: "/run/netns/x", config, cgroupPath: "/pods/x" });
  const steps = () =>
    calls.map((call) => `${call.command} ${call.type}`).filter((step) => !step.startsWith("STATUS"));
  return { network, calls, stored, attach, steps, change: () => changed() };
}
const file = (name: string, content: object | string): ConfigFile => ({
  name,
  path: `/etc/cni/net.d/${name}`,
  text: typeof content === "string" ? content : JSON.stringify(content),
});

describe("attach", () => {
  it("passes each plugin its own configuration, arguments and the previous result", async () => {
    const { attach, calls, stored } = fixture([file("10.conflist", conflist)]);
    expect(await attach()).toEqual({ ips: ["10.1.0.2"] });
    const adds = calls.filter((call) => call.command === "ADD");
    expect(adds.map((call) => call.stdin)).toEqual([
      {
        type: "first",
        own: { kept: [1] },
        name: "net",
        cniVersion: "1.1.0",
        runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
      },
      {
        type: "second",
        name: "net",
        cniVersion: "1.1.0",
        runtimeConfig: {
          bandwidth: { egressRate: 1e6, egressBurst: 524288 },
          dns: { servers: ["10.0.0.10"], searches: [], options: [] },
          cgroupPath: "/pods/x",
        },
        prevResult: result,
      },
    ]);
    expect(adds[0]?.env).toEqual({
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: id,
      CNI_NETNS: "/run/netns/x",
      CNI_IFNAME: "eth0",
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=${id};K8S_POD_UID=u1`,
    });
    expect(stored.get(`net-${id}`)?.result).toEqual(result);
  });

  it("undoes the whole chain, last plugin first, when one fails", async () => {
    const { attach, steps, stored } = fixture([file("10.conflist", conflist)], (call) =>
      call.command === "ADD" && call.type === "second" ? "no room" : result,
    );
    await expect(attach()).rejects.toThrow("CNI plugin second, ADD of network net: no room (code 7)");
    expect(steps()).toEqual(["ADD first", "ADD second", "DEL second", "DEL first"]);
    expect(stored.size).toBe(0);
  });

  it("undoes an ADD whose result can't be used", async () => {
    const { attach, steps } = fixture([file("10.conflist", conflist)], () => ({ ips: [] }));
    await expect(attach()).rejects.toThrow("no address");
    expect(steps().slice(2)).toEqual(["DEL second", "DEL first"]);
  });

  it("keeps the attachment for GC when it can't be undone", async () => {
    const { attach, stored } = fixture([file("10.conflist", conflist)], () => "broken");
    await expect(attach()).rejects.toThrow("ADD");
    expect(stored.get(`net-${id}`)).toMatchObject({ containerId: id, ours: true });
  });

  it("has an attachment on disk before the first plugin runs", async () => {
    let entries = 0;
    const made = fixture([file("10.conflist", conflist)], () => {
      entries = made.stored.size;
      return result;
    });
    await made.attach();
    expect(entries).toBe(1);
  });

  it("refuses without a configuration", async () => {
    await expect(fixture([]).attach()).rejects.toMatchObject({ code: "network-not-ready" });
  });
});

describe("detach", () => {
  it("uses the configuration of the time of ADD", async () => {
    const files = [file("10.conflist", conflist)];
    const { attach, network, calls, steps, stored, change } = fixture(files);
    await attach();
    files.splice(
      0,
      1,
      file("20.conflist", { cniVersion: "1.0.0", name: "new", plugins: [{ type: "other" }] }),
    );
    change();
    await network.detach(id, "");
    expect(steps().slice(2)).toEqual(["DEL second", "DEL first"]);
    const last = calls.at(-1);
    expect(last?.stdin).toMatchObject({
      prevResult: result,
      runtimeConfig: { portMappings: [{ hostPort: 8080 }] },
    });
    expect(last?.env).toMatchObject({ CNI_NETNS: "", CNI_CONTAINERID: id });
    expect(stored.size).toBe(0);
  });

  it("keeps the attachment when a plugin fails", async () => {
    const { attach, network, stored } = fixture([file("10.conflist", conflist)], (call) =>
      call.command === "DEL" ? "busy" : result,
    );
    await attach();
    await expect(network.detach(id, "/run/netns/x")).rejects.toThrow("busy");
    expect(stored.size).toBe(1);
  });

  it("succeeds when nothing is known", async () => {
    await fixture([]).network.detach(id, "");
  });
});

describe("collect", () => {
  it("frees what belongs to no sandbox, and tells plugins what does", async () => {
    const { attach, network, calls, stored } = fixture([file("10.conflist", conflist)]);
    const [gone, kept] = ["b".repeat(64), "c".repeat(64)];
    await attach(kept);
    const own = stored.get(`net-${kept}`) as CachedAttachment;
    stored.set(`net-${gone}`, { ...own, containerId: gone });
    const foreign = { ...own, containerId: "podman1", ours: false };
    stored.set("net-podman1", foreign);
    calls.length = 0;
    await network.collect([kept]);
    expect(calls.filter((call) => call.command === "DEL").map((call) => call.env.CNI_CONTAINERID)).toEqual([
      gone,
      gone,
    ]);
    const valid = [
      { containerID: kept, ifname: "eth0" },
      { containerID: "podman1", ifname: "eth0" },
    ];
    const sweeps = calls.filter((call) => call.command === "GC");
    expect(sweeps.map((call) => call.type)).toEqual(["first", "second"]);
    expect(sweeps[0]?.stdin).toMatchObject({
      "cni.dev/valid-attachments": valid,
      "cni.dev/attachments": valid,
    });
    expect([...stored.keys()]).toEqual([`net-${kept}`, "net-podman1"]);
  });

  it("spares what it has attached itself, however old the list is", async () => {
    const { attach, network, stored } = fixture([file("10.conflist", conflist)]);
    await attach("b".repeat(64));
    await Promise.all([network.collect([]), attach()]);
    expect(stored.size).toBe(2);
  });
});

describe("status", () => {
  it("follows the directory", async () => {
    const files: ConfigFile[] = [];
    const { network, change } = fixture(files);
    await network.ready();
    expect(network.status()).toMatchObject({
      ready: false,
      message: "no CNI configuration in /etc/cni/net.d",
    });
    files.push(file("05-bad.conf", "{"), file("10.conflist", conflist));
    change();
    await network.ready();
    expect(network.status()).toEqual({ ready: true });
    files.splice(1, 1, file("10.conflist", '{"half'));
    change();
    await network.ready();
    expect(network.status()).toEqual({ ready: true });
    files.length = 0;
    change();
    await network.ready();
    expect(network.status()).toMatchObject({ ready: false });
  });

  it("has the plugin's own words when STATUS fails", async () => {
    const { network } = fixture([file("10.conflist", conflist)], (call) =>
      call.command === "STATUS" && call.type === "second" ? "agent is down" : result,
    );
    await network.ready();
    expect(network.status()).toMatchObject({ ready: false, reason: "NetworkPluginNotReady" });
    expect(JSON.stringify(network.status())).toContain("agent is down");
  });

  it("names a plugin that is not installed", async () => {
    const { network } = fixture([file("1.conf", { cniVersion: "1.0.0", name: "n", type: "absent" })]);
    await network.ready();
    expect(JSON.stringify(network.status())).toContain("absent is in none of /opt/cni/bin");
  });
});
