import { describe, expect, it } from "vitest";
import {
  apply,
  clusterCommand,
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

/** What a restart of anything but a pod must leave alone. */
async function lives(): Promise<readonly string[]> {
  const paths =
    "{range .items[*]}{.metadata.name} {.status.containerStatuses[*].containerID} {.status.conditions[?(@.type=='Ready')].lastTransitionTime}{\"\\n\"}{end}";
  return (await kubectl("get", "pods", "-o", `jsonpath=${paths}`)).split("\n").sort();
}

async function expectWhole(pod: string): Promise<void> {
  const numbers = (await kubectl("logs", pod)).split("\n").map(Number);
  expect(numbers.length).toBeGreaterThan(20);
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
}

const expectServed = async (): Promise<void> =>
  expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:30080/")).toContain("nginx");

describe("restarts", () => {
  it("keeps every container when the server or the kubelet is restarted or killed", async () => {
    await apply("deployment");
    await apply("counter");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    await running("counter");
    const before = await lives();
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
      expect(await lives(), `after ${component} ${signal}`).toEqual(before);
    }
    await expectWhole("counter");
  }, 180_000);

  it("comes back by itself when the node was restarted, with the logs of the dead", async () => {
    await apply("deployment");
    await apply("counter");
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
