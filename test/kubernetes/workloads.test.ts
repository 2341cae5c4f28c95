import { describe, expect, it } from "vitest";
import { apply, eventually, field, inPod, kubectl, onNode, running, useCluster } from "./cluster.ts";

useCluster("workloads");

// Together: most of their time is waiting.
describe.concurrent("workloads", () => {
  it("serves a Deployment through NodePort, LoadBalancer and cluster IP, and replaces a killed pod", async (test) => {
    await apply(test, "deployment");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    for (const service of ["nginx-nodeport", "nginx-loadbalancer"]) {
      const ip = await field("service", service, ".spec.clusterIP");
      const seen = new Set<string>();
      await eventually(`${service}: both replicas answer`, 30, async () => {
        seen.add(await onNode("curl", "-sf", "--max-time", "2", `http://${ip}/who`));
        return seen.size === 2;
      });
    }
    expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:30080/")).toContain("nginx");
    const [victim = ""] = (await kubectl("get", "pods", "-l", "app=nginx", "-o", "name")).split("\n");
    await kubectl("delete", victim, "--grace-period=0", "--force");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=60s");
    expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:30080/")).toContain("nginx");
  });

  it("runs init containers, sidecars and two containers that share network and a volume", async (test) => {
    await apply(test, "two-containers");
    await running("two-containers");
    await eventually("the client has read what nginx serves", 20, async () =>
      (await kubectl("exec", "two-containers", "-c", "client", "--", "cat", "/data/order")).includes(
        "client",
      ),
    );
    expect(await kubectl("exec", "two-containers", "-c", "client", "--", "cat", "/data/order")).toBe(
      "init\nsidecar\nclient",
    );
  });

  it("completes a Job with parallelism 3", async (test) => {
    await apply(test, "job");
    await kubectl("wait", "--for=condition=complete", "job/parallel", "--timeout=90s");
    expect(await field("job", "parallel", ".status.succeeded")).toBe("6");
  });

  it("fires a CronJob", async (test) => {
    await apply(test, "cronjob");
    const succeeded =
      '{range .items[?(@.status.succeeded==1)]}{.metadata.ownerReferences[0].name}{"\\n"}{end}';
    await eventually("a job of the CronJob has succeeded", 110, async () =>
      (await kubectl("get", "jobs", "-o", `jsonpath=${succeeded}`)).includes("every-minute"),
    );
  }, 150_000);

  it("scales a busy Deployment out and in", async (test) => {
    await apply(test, "hpa");
    await eventually(
      "scaled out",
      120,
      async () => Number(await field("deployment", "busy", ".status.readyReplicas")) >= 2,
    );
    const pods = (
      await kubectl("get", "pods", "-l", "app=busy", "-o", "jsonpath={.items[*].metadata.name}")
    ).split(" ");
    await Promise.all(pods.map((pod) => inPod(pod, "touch", "/tmp/idle")));
    await eventually(
      "scaled in",
      120,
      async () => (await field("deployment", "busy", ".status.replicas")) === "1",
    );
  }, 300_000);
});
