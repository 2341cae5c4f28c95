import { copyFileSync, rmSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  apply,
  clusterDirectory,
  eventually,
  field,
  inPod,
  kubectl,
  manifest,
  running,
  useCluster,
} from "./cluster.ts";

useCluster("configuration");

// Together: most of their time is waiting.
describe.concurrent("configuration", () => {
  it("passes Secret, ConfigMap, downward API and token, and updates files", async (test) => {
    await apply(test, "config");
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
  }, 200_000);

  it("pulls with the secrets of the pod, and by its policy", async (test) => {
    await apply(test, "images");
    await running("permitted");
    const waiting = ".status.containerStatuses[0].state.waiting";
    await eventually("refused is refused", 60, async () =>
      ["ErrImagePull", "ImagePullBackOff"].includes(await field("pod", "refused", `${waiting}.reason`)),
    );
    await eventually("the registry's answer is in an event", 30, async () =>
      /401|unauthori|authenti/i.test(
        await kubectl("get", "events", "--field-selector=involvedObject.name=refused"),
      ),
    );
    await eventually(
      "absent is not pulled",
      30,
      async () => (await field("pod", "absent", `${waiting}.reason`)) === "ErrImageNeverPull",
    );
  }, 150_000);

  it("runs a static pod, and ends it with its file", async () => {
    const file = `${clusterDirectory}/manifests/static.yaml`;
    copyFileSync(manifest("static"), file);
    try {
      await running("static-berth-node", 60);
      expect(await kubectl("logs", "static-berth-node")).toBe("static");
    } finally {
      rmSync(file);
    }
    await eventually(
      "the static pod is gone",
      60,
      async () => (await field("pod", "static-berth-node", ".metadata.name")) === "",
    );
  }, 150_000);

  it("runs a RuntimeClass, and refuses one that has no handler", async (test) => {
    await apply(test, "runtimeclass");
    await running("berthclass");
    await eventually("an event names the handler", 30, async () =>
      (await kubectl("get", "events", "--field-selector=involvedObject.name=absentclass")).includes(
        "no-such-handler",
      ),
    );
  });
});
