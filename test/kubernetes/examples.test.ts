import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { clusterCommand, eventually, field, kubectl, manifest, onNode, running } from "./cluster.ts";

// Needs `hack/cluster up`. Each example is applied from its file, checked by its real effect, and deleted again.
const applied: string[] = [];
async function apply(name: string): Promise<void> {
  applied.push(name);
  await kubectl("apply", "-f", manifest(name));
}
const inPod = (pod: string, ...command: string[]): Promise<string> => kubectl("exec", pod, "--", ...command);

beforeAll(async () => {
  await eventually("the node is Ready", 60, async () => (await kubectl("get", "nodes")).includes(" Ready"));
});
afterEach(async () => {
  for (const name of applied.splice(0)) {
    await kubectl("delete", "-f", manifest(name), "--ignore-not-found", "--wait=true", "--timeout=60s");
  }
});

describe("workloads", () => {
  it("serves a Deployment through NodePort, LoadBalancer and cluster IP, and replaces a killed pod", async () => {
    await apply("deployment");
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

  it("runs init containers, sidecars and two containers that share network and a volume", async () => {
    await apply("two-containers");
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

  it("completes a Job with parallelism 3", async () => {
    await apply("job");
    await kubectl("wait", "--for=condition=complete", "job/parallel", "--timeout=90s");
    expect(await field("job", "parallel", ".status.succeeded")).toBe("6");
  });

  it("fires a CronJob", async () => {
    await apply("cronjob");
    await eventually("a job of the CronJob has succeeded", 110, async () =>
      (await kubectl("get", "jobs", "-o", "jsonpath={.items[*].status.succeeded}")).includes("1"),
    );
  });

  it("scales a busy Deployment out and in", async () => {
    await apply("hpa");
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
  });
});

describe("configuration", () => {
  it("passes Secret, ConfigMap, downward API and token, and updates files", async () => {
    await apply("config");
    await running("config");
    expect(await inPod("config", "cat", "/etc/secret/password")).toBe("open sesame");
    expect(await inPod("config", "sh", "-c", "echo $PASSWORD/$COLOUR/$CPU_LIMIT")).toBe(
      "open sesame/blue/250",
    );
    expect(await inPod("config", "cat", "/etc/info/labels")).toContain('tier="backend"');
    expect(await inPod("config", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")).toMatch(
      /^ey/,
    );
    expect(await inPod("config", "sh", "-c", "echo $POD_IP")).toBe(
      await field("pod", "config", ".status.podIP"),
    );
    await kubectl("patch", "configmap", "settings", "-p", '{"data":{"colour":"green"}}');
    await eventually(
      "the file is green",
      110,
      async () => (await inPod("config", "cat", "/etc/settings/colour")) === "green",
    );
  });

  it("refuses a RuntimeClass that has no handler", async () => {
    await apply("runtimeclass");
    await eventually("an event names the handler", 30, async () =>
      (await kubectl("get", "events", "--field-selector=involvedObject.name=absentclass")).includes(
        "no-such-handler",
      ),
    );
  });
});

describe("life and death", () => {
  it("restarts on a failing liveness probe and gates on readiness and startup", async () => {
    await apply("probes");
    await running("probed");
    expect(await field("pod", "probed", ".status.containerStatuses[0].started")).toBe("true");
    await eventually(
      "unhealthy was restarted",
      60,
      async () => Number(await field("pod", "unhealthy", ".status.containerStatuses[0].restartCount")) > 0,
    );
    expect(await field("pod", "probed", ".status.containerStatuses[0].restartCount")).toBe("0");
  });

  it("reports termination messages, OOM kills, back-off and deadlines", async () => {
    await apply("endings");
    const ended = ".status.containerStatuses[0].state.terminated";
    await eventually(
      "message has ended",
      40,
      async () => (await field("pod", "message", `${ended}.message`)) === "last words",
    );
    expect(await field("pod", "message", `${ended}.exitCode`)).toBe("3");
    await eventually(
      "oom was killed",
      60,
      async () => (await field("pod", "oom", `${ended}.reason`)) === "OOMKilled",
    );
    expect(await field("pod", "oom", `${ended}.exitCode`)).toBe("137");
    await eventually(
      "crash backs off",
      60,
      async () =>
        (await field("pod", "crash", ".status.containerStatuses[0].state.waiting.reason")) ===
        "CrashLoopBackOff",
    );
    await eventually(
      "deadline has passed",
      40,
      async () => (await field("pod", "deadline", ".status.reason")) === "DeadlineExceeded",
    );
    await running("stubborn");
    const before = Date.now();
    await kubectl("delete", "pod", "stubborn");
    expect(Date.now() - before).toBeGreaterThan(2_500);
    expect(await onNode("cat", "/tmp/berth-stubborn/term")).toBe("term");
    await onNode("rm", "-r", "/tmp/berth-stubborn");
  });

  it("resizes CPU and memory in place", async () => {
    await apply("resize");
    await running("resize");
    const patch =
      '{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"cpu":"200m","memory":"128Mi"}}}]}}';
    await kubectl("patch", "pod", "resize", "--subresource=resize", "-p", patch);
    const limits = ".status.containerStatuses[0].resources.limits";
    await eventually(
      "the new limits are applied",
      60,
      async () =>
        `${await field("pod", "resize", `${limits}.cpu`)}/${await field("pod", "resize", `${limits}.memory`)}` ===
        "200m/128Mi",
    );
    expect(await field("pod", "resize", ".status.containerStatuses[0].restartCount")).toBe("0");
  });
});

describe("isolation", () => {
  it("shares the namespaces that were asked for, and no others", async () => {
    await apply("namespaces");
    for (const pod of ["hostns", "sharedpid", "userns", "hostport"]) await running(pod);
    expect(await inPod("hostns", "ls", "/proc/1/exe", "-l")).not.toContain("sleep");
    expect(await inPod("hostns", "ip", "addr")).toContain("10.66.0.2");
    expect(await kubectl("exec", "sharedpid", "-c", "peer", "--", "ps")).toContain("nginx: master");
    const [inside, outside, count] = (await inPod("userns", "cat", "/proc/self/uid_map")).trim().split(/\s+/);
    expect(inside).toBe("0");
    expect(Number(outside)).toBeGreaterThan(0);
    expect(Number(count)).toBe(65536);
    expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:8088/")).toContain("nginx");
  });

  it("applies the security context, sub paths and image volumes", async () => {
    await apply("security");
    await running("secured");
    await running("imagevolume");
    expect(await inPod("secured", "id")).toBe("uid=1234 gid=2345 groups=2345,3456,4567");
    await expect(inPod("secured", "touch", "/file")).rejects.toThrow(/Read-only/);
    expect(await inPod("secured", "sh", "-c", "touch /scratch/f && stat -c %g /scratch/f")).toBe("3456");
    expect(await inPod("secured", "cat", "/only/file")).toBe("deep");
    expect(await inPod("secured", "grep", "-E", "Seccomp:|NoNewPrivs:|CapEff:", "/proc/1/status")).toMatch(
      /CapEff:\s0+\nNoNewPrivs:\s1\nSeccomp:\s2/,
    );
    expect(await inPod("secured", "cat", "/proc/sys/net/ipv4/ip_local_port_range")).toMatch(/20000\s30000/);
    expect(await inPod("imagevolume", "ls", "/content/usr/sbin")).toContain("nginx");
    await eventually(
      "notroot is refused",
      30,
      async () =>
        (await field("pod", "notroot", ".status.containerStatuses[0].state.waiting.reason")) ===
        "CreateContainerConfigError",
    );
  });
});

describe("kubectl", () => {
  it("logs, execs, attaches, copies, forwards ports, shows usage and debugs", async () => {
    await apply("config");
    await apply("deployment");
    await running("config");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    expect(await kubectl("logs", "deployment/nginx-deployment")).toBeDefined();
    await expect(kubectl("exec", "config", "--", "sh", "-c", "exit 7")).rejects.toMatchObject({ code: 7 });
    await kubectl("cp", manifest("job"), "default/config:/tmp/job.yaml");
    expect(await inPod("config", "cat", "/tmp/job.yaml")).toContain("parallelism: 3");
    await eventually("top shows the pod", 60, async () =>
      (await kubectl("top", "pod", "config", "--no-headers")).includes("config"),
    );
    await kubectl(
      "debug",
      "config",
      "--image=registry.cluster.test/e2e-test-images/busybox:1.29-2",
      "--target=main",
      "-c",
      "dbg",
      "--",
      "sh",
      "-c",
      "ps > /tmp/ps; cat /tmp/ps; sleep 5",
    );
    await eventually("the debug container sees its target", 30, async () =>
      (await kubectl("logs", "config", "-c", "dbg")).includes("sleep 3600"),
    );
    const root = fileURLToPath(new URL("../..", import.meta.url));
    const forward = spawn(`${root}hack/cluster`, [
      "kubectl",
      "port-forward",
      "deployment/nginx-deployment",
      "18080:80",
    ]);
    try {
      await eventually("the forwarded port answers", 20, async () =>
        (await onNode("curl", "-sf", "--max-time", "2", "http://127.0.0.1:18080/")).includes("nginx"),
      );
    } finally {
      forward.kill();
    }
  });
});

describe("restarts", () => {
  it("keeps every container through a restart and a kill -9 of the server and a restart of the kubelet", async () => {
    await apply("deployment");
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=90s");
    const ids = (): Promise<string> =>
      kubectl(
        "get",
        "pods",
        "-l",
        "app=nginx",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[*].containerID}",
      );
    const before = await ids();
    await clusterCommand("restart", "berthd");
    await onNode("pkill", "-9", "-f", "berthd.js");
    await clusterCommand("restart", "berthd");
    await clusterCommand("restart", "kubelet");
    await eventually("the node is Ready again", 60, async () =>
      (await kubectl("get", "nodes")).includes(" Ready"),
    );
    await kubectl("rollout", "status", "deployment/nginx-deployment", "--timeout=60s");
    expect((await ids()).split(" ").sort()).toEqual(before.split(" ").sort());
    expect(await onNode("curl", "-sf", "--max-time", "5", "http://10.66.0.2:30080/")).toContain("nginx");
  });
});
