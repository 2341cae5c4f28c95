import { describe, expect, it } from "vitest";
import { apply, eventually, field, kubectl, onNode, running, useCluster } from "./cluster.ts";

useCluster("lifecycle");

describe("life and death", () => {
  it("restarts on a failing liveness probe and gates on readiness and startup", async (test) => {
    await apply(test, "probes");
    await running("probed");
    expect(await field("pod", "probed", ".status.containerStatuses[0].started")).toBe("true");
    await eventually(
      "unhealthy was restarted",
      60,
      async () => Number(await field("pod", "unhealthy", ".status.containerStatuses[0].restartCount")) > 0,
    );
    expect(await field("pod", "probed", ".status.containerStatuses[0].restartCount")).toBe("0");
  });

  it("probes by gRPC", async (test) => {
    await apply(test, "grpc");
    await running("grpc");
    await new Promise((resolve) => setTimeout(resolve, 5000));
    expect(await field("pod", "grpc", ".status.containerStatuses[0].restartCount")).toBe("0");
  });

  it.concurrent("runs the hooks of a life before and after", async (test) => {
    await apply(test, "hooks");
    await running("hooks");
    await kubectl("delete", "pod", "hooks");
    expect(await onNode("cat", "/mnt/hooks/order")).toBe("started\nstopping\nterm");
    await onNode("rm", "-r", "/mnt/hooks");
  });

  it.concurrent("reports termination messages, OOM kills, back-off and deadlines", async (test) => {
    await apply(test, "endings");
    const ended = ".status.containerStatuses[0].state.terminated";
    await eventually(
      "message has ended",
      40,
      async () => (await field("pod", "message", `${ended}.message`)) === "last words",
    );
    expect(await field("pod", "message", `${ended}.exitCode`)).toBe("3");
    await eventually("fallback has ended", 40, async () =>
      (await field("pod", "fallback", `${ended}.message`)).includes("the log says why"),
    );
    await eventually(
      "oom was killed",
      60,
      async () => (await field("pod", "oom", `${ended}.reason`)) === "OOMKilled",
    );
    expect(await field("pod", "oom", `${ended}.exitCode`)).toBe("137");
    // Its status says so only if the kubelet happens to look twice meanwhile.
    await eventually("crash backs off", 60, async () =>
      (await kubectl("get", "events", "--field-selector=involvedObject.name=crash,reason=BackOff")).includes(
        "Back-off restarting",
      ),
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
    expect(await onNode("cat", "/mnt/stubborn/term")).toBe("term");
    await onNode("rm", "-r", "/mnt/stubborn");
  }, 200_000);

  it.concurrent("resizes CPU and memory in place", async (test) => {
    await apply(test, "resize");
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

  it.concurrent("lets the kubelet rotate a log, and loses no line", async (test) => {
    await apply(test, "logs");
    await running("talkative");
    const uid = await field("pod", "talkative", ".metadata.uid");
    const directory = `/var/log/pods/default_talkative_${uid}/main`;
    const files = async (): Promise<readonly string[]> => (await onNode("ls", directory)).split("\n").sort();
    await eventually("the log was rotated", 90, async () => (await files()).length > 2);
    await eventually("all is written", 60, async () =>
      (await onNode("sh", "-c", `zcat -f ${directory}/* | grep -c " line 14000 "`)).startsWith("1"),
    );
    // 0.log sorts before its rotated forms, and is the newest.
    const [newest = "", ...rotated] = await files();
    let text = "";
    for (const name of [...rotated, newest])
      text += `${await onNode(name.endsWith(".gz") ? "zcat" : "cat", `${directory}/${name}`)}\n`;
    const numbers = [...text.matchAll(/ F line (\d+) /g)].map((match) => Number(match[1]));
    const first = numbers[0] ?? 0;
    expect(numbers).toEqual(Array.from({ length: 14_000 - first + 1 }, (_, index) => first + index));
    expect(rotated.length).toBeLessThan(4);
  }, 200_000);
});
