import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { patience } from "../lib/patience.ts";
import {
  apply,
  eventually,
  inPod,
  kubectl,
  kubectlWith,
  manifest,
  onNode,
  running,
  useCluster,
} from "./cluster.ts";

useCluster("kubectl");

const script = fileURLToPath(new URL("../../hack/cluster", import.meta.url));

/** Runs a shell command on a terminal of 33 lines and 99 columns, and returns what a person would see. */
async function onTerminal(command: string): Promise<string> {
  const child = spawn("script", ["-qec", `stty rows 33 cols 99; ${command}`, "/dev/null"], {
    timeout: 30_000,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const seen: Buffer[] = [];
  child.stdout.on("data", (data: Buffer) => seen.push(data));
  await once(child, "close");
  return Buffer.concat(seen).toString();
}

// Together: most of their time is waiting.
describe.concurrent("kubectl", () => {
  it("follows a log, runs a terminal, attaches", { timeout: 200_000 * patience }, async (test) => {
    await apply(test, "counter");
    await apply(test, "attach");
    await running("counter");
    await running("attach");
    const followed = kubectl("logs", "-f", "counter", "--tail=1");
    const terminal = `${script} kubectl exec -it counter -- sh -c 'tty; sleep 1; stty size'`;
    const shown = await onTerminal(terminal);
    expect(shown).toContain("/dev/pts/0");
    expect(shown).toContain("33 99");
    expect(await kubectlWith("said\n", "attach", "-i", "attach")).toContain("said");
    expect(await kubectl("logs", "attach")).toBe("said");
    await kubectl("delete", "pod", "counter");
    const numbers = (await followed).split("\n").map(Number);
    expect(numbers.length).toBeGreaterThan(20);
    expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
  });

  it("execs, copies, forwards ports, shows usage and debugs", {
    timeout: 200_000 * patience,
  }, async (test) => {
    await apply(test, "config");
    await apply(test, "deployment");
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
    const forward = spawn(script, ["kubectl", "port-forward", "deployment/nginx-deployment", "18080:80"]);
    try {
      await eventually("the forwarded port answers", 20, async () =>
        (await onNode("curl", "-sf", "--max-time", "2", "http://127.0.0.1:18080/")).includes("nginx"),
      );
    } finally {
      forward.kill();
    }
  });
});
