import { appendFileSync, globSync, readFileSync } from "node:fs";
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
  useCluster,
} from "../kubernetes/cluster.ts";

useCluster("node");

const configuration = `${clusterDirectory}/conf/kubelet.yaml`;
const memoryQos = "memoryThrottlingFactor: 0.9\nmemoryReservationPolicy: TieredReservation\n";
const mebibyte = 1 << 20;

/** The group of a pod's one container, and `above` it those of the pod, of its class and of all pods. */
async function group(pod: string): Promise<(file: string, above?: number) => string> {
  const id = await field("pod", pod, ".status.containerStatuses[0].containerID");
  const pods = `/sys/fs/cgroup${process.env.BERTH_TEST_CGROUP ?? ""}/berth-cluster/kubepods`;
  const [found] = globSync(`${pods}/**/${id.replace("berth://", "")}`);
  if (found === undefined) throw new Error(`no group of ${pod}'s ${id}`);
  return (file, above = 0) => readFileSync(`${found}${"/..".repeat(above)}/${file}`, "utf8").trim();
}

/** Asks once and waits: each question is a second's work of this kernel. */
async function until(pod: string, condition: string): Promise<void> {
  await kubectl("wait", `--for=${condition}`, `pod/${pod}`, "--timeout=100s");
}

function used(stat: string): number {
  return Number(/^usage_usec (\d+)$/m.exec(stat)?.[1]);
}

// Needs `hack/cluster up` on such a kernel: `hack/test kubernetes-v2` boots one.
describe("a cluster on cgroup v2", () => {
  it("is Ready with a stock kubelet where v2 is all there is", async () => {
    const mounts = readFileSync("/proc/self/mounts", "utf8");
    expect(mounts).toMatch(/ \/sys\/fs\/cgroup cgroup2 /);
    expect(mounts).not.toMatch(/ cgroup /);
    expect(readFileSync(configuration, "utf8")).not.toMatch(/failCgroupV1|memory(Throttling|Reservation)/);
    const { kubeletconfig } = JSON.parse(
      await kubectl("get", "--raw", "/api/v1/nodes/berth-node/proxy/configz"),
    ) as { kubeletconfig: Record<string, unknown> };
    expect(kubeletconfig).toMatchObject({ failCgroupV1: true, cgroupDriver: "cgroupfs" });
    expect(kubeletconfig).not.toHaveProperty("featureGates");
    expect(await field("node", "berth-node", ".status.nodeInfo.containerRuntimeVersion")).toMatch(/^berth:/);
    expect(await clusterCommand("status")).toMatch(/^berth-node +Ready /m);
  });

  it("serves a Deployment by cluster IP and NodePort, and replaces a pod", async (test) => {
    await apply(test, "deployment");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=100s");
    const ip = await field("service", "nginx-nodeport", ".spec.clusterIP");
    const seen = new Set<string>();
    await eventually("both replicas answer", 60, async () => {
      seen.add(await onNode("curl", "-sf", "--max-time", "5", `http://${ip}/who`));
      return seen.size === 2;
    });
    expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:30080/")).toContain("nginx");
    const [one = "", other = ""] = [...seen];
    expect(await inPod(one, "wget", "-qO-", `http://${ip}/`)).toContain("nginx");
    expect(await inPod(one, "cat", "/etc/hostname")).toBe(one);
    await expect(inPod(one, "sh", "-c", "exit 7")).rejects.toThrow(/exit code 7/);
    expect(await kubectl("logs", one)).toMatch(/"GET \/who HTTP\/1\.1" 200/);
    await kubectl("delete", "pod", other);
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=100s");
    await eventually("the new one answers", 60, async () => {
      seen.add(await onNode("curl", "-sf", "--max-time", "5", `http://${ip}/who`));
      return seen.size === 3;
    });
  }, 300_000);

  it("completes a Job with parallelism 3", async (test) => {
    await apply(test, "job");
    await kubectl("wait", "--for=condition=complete", "job/parallel", "--timeout=110s");
    expect(await field("job", "parallel", ".status.succeeded")).toBe("6");
  }, 240_000);

  it("limits processor and memory as the pod says, anew when it is resized, and says who had too little", async (test) => {
    await apply(test, "limits");
    await until("busy", "condition=Ready");
    await until("kept", "condition=Ready");
    const [busy, kept] = [await group("busy"), await group("kept")];
    // The container's by us, the pod's by the kubelet.
    for (const above of [0, 1]) {
      expect(busy("cpu.max", above)).toBe("20000 100000");
      expect(busy("memory.max", above)).toBe(String(64 * mebibyte));
      expect(kept("cpu.max", above)).toBe("10000 100000");
      expect(kept("memory.max", above)).toBe(String(16 * mebibyte));
    }
    const before = used(busy("cpu.stat"));
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const share = (used(busy("cpu.stat")) - before) / 1000 / (performance.now() - start);
    expect(share).toBeGreaterThan(0.05);
    expect(share).toBeLessThan(0.25);
    await until("greedy", "jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled");
    const id = await field("pod", "busy", ".status.containerStatuses[0].containerID");
    const patch = {
      spec: { containers: [{ name: "main", resources: { limits: { cpu: "300m", memory: "96Mi" } } }] },
    };
    await kubectl("patch", "pod", "busy", "--subresource", "resize", "-p", JSON.stringify(patch));
    await eventually(
      "the new limits hold",
      60,
      async () => busy("cpu.max") === "30000 100000" && busy("memory.max") === String(96 * mebibyte),
    );
    expect(await field("pod", "busy", ".status.containerStatuses[0].containerID")).toBe(id);
  }, 300_000);

  // Last, as it is no stock kubelet any more.
  it("throttles and reserves memory as a kubelet with MemoryQoS asks", async (test) => {
    if (!readFileSync(configuration, "utf8").includes(memoryQos)) appendFileSync(configuration, memoryQos);
    await clusterCommand("restart", "kubelet");
    await nodeReady();
    await apply(test, "limits");
    await until("busy", "condition=Ready");
    await until("kept", "condition=Ready");
    const [busy, kept] = [await group("busy"), await group("kept")];
    // From the request and nine tenths of what lies above it, in whole pages.
    const throttled = Math.floor((32 + 0.9 * 32) * 256) * 4096;
    expect(busy("memory.high")).toBe(String(throttled));
    expect(kept("memory.high")).toBe("max");
    // What is reserved holds only where all groups above reserve it, too.
    for (const above of [0, 1, 2]) expect(busy("memory.low", above)).toBe(String(32 * mebibyte));
    for (const above of [0, 1]) {
      expect(kept("memory.min", above)).toBe(String(16 * mebibyte));
      expect(kept("memory.low", above)).toBe("0");
      expect(busy("memory.min", above)).toBe("0");
    }
    expect(Number(kept("memory.min", 2))).toBeGreaterThanOrEqual(16 * mebibyte);
  }, 300_000);
});
