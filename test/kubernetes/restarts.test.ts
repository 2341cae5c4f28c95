import {
  appendFileSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  apply,
  clusterCommand,
  clusterDirectory,
  eventually,
  field,
  inPod,
  kubectl,
  nodeReady,
  onNode,
  running,
  useCluster,
} from "./cluster.ts";

useCluster("restarts");

const web = ["get", "pods", "-l", "app=nginx", "-o"];

interface PodObject {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status: {
    readonly containerStatuses?: readonly { readonly containerID: string }[];
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly lastTransitionTime: string;
    }[];
  };
}

/** What a restart of anything but a pod must leave alone. Pods of the test before may still be on their way out. */
async function lives(): Promise<readonly string[]> {
  const { items } = JSON.parse(await kubectl("get", "pods", "-o", "json")) as { items: readonly PodObject[] };
  return items
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ metadata, status }) => {
      const ids = status.containerStatuses?.map(({ containerID }) => containerID).join(" ");
      const ready = status.conditions?.find(({ type }) => type === "Ready");
      return `${metadata.name} ${ids} ready: ${ready?.status} ${ready?.lastTransitionTime}`;
    })
    .sort();
}

function withoutTime(life: string): string {
  return life.slice(0, life.lastIndexOf(" "));
}

async function expectWhole(pod: string): Promise<void> {
  const numbers = (await kubectl("logs", pod)).split("\n").map(Number);
  expect(numbers.length).toBeGreaterThan(20);
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
}

const expectServed = async (): Promise<void> =>
  expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:30080/")).toContain("nginx");

const root = join(import.meta.dirname, "../..");

/**
 * Another build of the same sources, as far as a process can tell. BERTH_OTHER_BUILD names a checkout, of an older commit
 * maybe, to be taken in its place.
 */
function otherBuild(): { readonly checkout: string; remove(): void } {
  const given = process.env.BERTH_OTHER_BUILD;
  if (given !== undefined) return { checkout: given, remove: () => {} };
  const checkout = mkdtempSync(join(clusterDirectory, "tmp/build-"));
  for (const name of [
    "hack/serve",
    "hack/env.sh",
    "dist",
    "native/build/berth-native",
    "native/build/berth-unpack",
  ]) {
    mkdirSync(join(checkout, dirname(name)), { recursive: true });
    cpSync(join(root, name), join(checkout, name), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(checkout, "node_modules"));
  appendFileSync(join(checkout, "dist/berthd.js"), "// another build\n");
  // Monitors are told apart by their program; those of an earlier try may be there.
  appendFileSync(join(checkout, "native/build/berth-native"), checkout);
  return { checkout, remove: () => rmSync(checkout, { recursive: true }) };
}

/** How many pods have a monitor of this build. */
function monitorsOf(checkout: string): number {
  const program = readFileSync(join(checkout, "native/build/berth-native"));
  const group = `${process.env.BERTH_TEST_CGROUP ?? ""}/berth-cluster-host/berthd/cgroup.procs`;
  const file = globSync([`/sys/fs/cgroup${group}`, `/sys/fs/cgroup/pids${group}`])[0];
  if (file === undefined) throw new Error(`no ${group}`);
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .filter((pid) => /^berth-monitor [0-9a-f]/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8")))
    .filter((pid) => readFileSync(`/proc/${pid}/exe`).equals(program)).length;
}

/** The server is exchanged for that of another build; no container may notice. */
async function upgrade(checkout: string): Promise<void> {
  const before = await lives();
  await clusterCommand("serve", checkout);
  await clusterCommand("restart", "berthd", "TERM");
  await new Promise((resolve) => setTimeout(resolve, 4000));
  await nodeReady();
  expect(await inPod("counter", "echo", "here")).toBe("here");
  await expectServed();
  expect(await lives()).toEqual(before);
}

describe("restarts", () => {
  it("keeps every container when the server or the kubelet is restarted or killed", async (test) => {
    await apply(test, "deployment");
    await apply(test, "counter");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    await running("counter");
    let before = await lives();
    for (const [component, signal] of [
      ["berthd", "TERM"],
      ["berthd", "KILL"],
      ["kubelet", "TERM"],
      ["kubelet", "KILL"],
    ] as const) {
      await clusterCommand("restart", component, signal);
      await new Promise((resolve) => setTimeout(resolve, 4000));
      await nodeReady();
      expect(await inPod("counter", "echo", "here"), `after ${component} ${signal}`).toBe("here");
      await expectServed();
      const after = await lives();
      if (component === "kubelet") {
        // A new kubelet has asked no probe yet and may call a pod not ready for the milliseconds that its first takes.
        expect(after.map(withoutTime), `after ${component} ${signal}`).toEqual(before.map(withoutTime));
        before = after;
      } else expect(after, `after ${component} ${signal}`).toEqual(before);
    }
    await expectWhole("counter");
  }, 180_000);

  it("is upgraded under pods that go on, and goes on with the monitors of the build before", async (test) => {
    await apply(test, "deployment");
    await apply(test, "counter");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    await running("counter");
    const other = otherBuild();
    try {
      await upgrade(other.checkout);
      // Those of pods that have ended may be there, too.
      expect(monitorsOf(root)).toBeGreaterThanOrEqual(3);
      expect(monitorsOf(other.checkout)).toBe(0);
      const [oldest = ""] = (await kubectl(...web, "name")).split("\n");
      await kubectl("delete", oldest);
      await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=60s");
      expect(monitorsOf(other.checkout)).toBe(1);
      // And back, under pods of both.
      await upgrade(root);
      expect(monitorsOf(root)).toBeGreaterThanOrEqual(2);
      expect(monitorsOf(other.checkout)).toBe(1);
      await expectWhole("counter");
    } finally {
      await clusterCommand("serve", root);
      other.remove();
    }
  }, 180_000);

  it("comes back by itself when the node was restarted, with the logs of the dead", async (test) => {
    await apply(test, "deployment");
    await apply(test, "counter");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    await running("counter");
    const [boot, containers] = await Promise.all([
      field("node", "berth-node", ".status.nodeInfo.bootID"),
      kubectl(...web, "jsonpath={.items[*].status.containerStatuses[*].containerID}"),
    ]);
    await clusterCommand("reboot");
    await nodeReady(90);
    await kubectl(
      "wait",
      "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
      "pod/counter",
      "--timeout=90s",
    );
    await running("counter", 60);
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    expect(await field("node", "berth-node", ".status.nodeInfo.bootID")).not.toBe(boot);
    const now = await kubectl(...web, "jsonpath={.items[*].status.containerStatuses[*].containerID}");
    for (const id of containers.split(" ")) expect(now).not.toContain(id);
    // Pods may be ready before kube-proxy has its first rules.
    await eventually("the node port answers", 20, async () => expectServed().then(() => true));
    expect(await kubectl("logs", "counter", "--previous", "--tail=1")).toMatch(/^\d+$/);
  }, 300_000);
});
