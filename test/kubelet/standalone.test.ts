import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clusterCommand, eventually, runtimeErrors } from "../kubernetes/cluster.ts";
import {
  containerStatuses,
  containersReady,
  curl,
  figures,
  pods,
  restartKubelet,
  staticPod,
} from "./alone.ts";

const web = staticPod("standalone.yaml");
let logged = 0;

// Needs `CLUSTER_KIND=standalone hack/cluster up`: a kubelet without an API server.
describe("a kubelet alone", () => {
  beforeAll(async () => {
    logged = await restartKubelet("");
    web.add();
  });
  afterAll(() => web.remove(), 90_000);

  it("runs a static pod with init container, volume and probes", async () => {
    const pod = await containersReady(2);
    expect(await curl(`http://${pod.status.podIP}/`)).toBe("made before");
  }, 90_000);

  it("executes, reads logs and reports usage", async () => {
    const [name = ""] = (await pods()).map((pod) => pod.metadata.name);
    const kubelet = "https://127.0.0.1:10250";
    expect(await curl("-k", "-X", "POST", `${kubelet}/run/default/${name}/web?cmd=cat+/etc/hostname`)).toBe(
      name,
    );
    expect(await curl("-k", `${kubelet}/containerLogs/default/${name}/counter?limitBytes=3`)).toBe("1\n2");
    await eventually("the summary has figures of both containers", 40, async () => {
      const containers = (await figures())?.containers ?? [];
      return (
        containers.length === 2 &&
        containers.every(({ cpu, memory }) => cpu.usageCoreNanoSeconds > 0 && memory.workingSetBytes > 0)
      );
    });
  });

  it("keeps its containers when the server is killed, and ends them with the file", async () => {
    const lives = async (): Promise<readonly (readonly [string, number])[]> =>
      (await containerStatuses()).map(({ containerID, restartCount }) => [containerID, restartCount]);
    const before = await lives();
    await clusterCommand("restart", "berthd", "KILL");
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(await lives()).toEqual(before);
    await web.remove();
  }, 90_000);

  it("has nothing to complain of", () => {
    expect(runtimeErrors("restarts", logged)).toEqual([]);
  });
});
