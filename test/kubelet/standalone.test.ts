import { copyFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  clusterCommand,
  clusterDirectory,
  eventually,
  onNode,
  runtimeErrors,
} from "../kubernetes/cluster.ts";

interface Status {
  readonly name: string;
  readonly ready: boolean;
  readonly restartCount: number;
  readonly containerID: string;
}

interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly status: { readonly podIP?: string; readonly containerStatuses?: readonly Status[] };
}

interface Summary {
  readonly pods: readonly {
    readonly podRef: { readonly name: string };
    readonly containers: readonly {
      readonly name: string;
      readonly cpu: { readonly usageCoreNanoSeconds: number };
      readonly memory: { readonly workingSetBytes: number };
    }[];
  }[];
}

const file = `${clusterDirectory}/manifests/standalone.yaml`;
const curl = (...words: readonly string[]): Promise<string> =>
  onNode("curl", "-sSf", "--max-time", "5", ...words);

async function pods(): Promise<readonly Pod[]> {
  const list = JSON.parse(await curl("http://127.0.0.1:10255/pods")) as { items: readonly Pod[] | null };
  return list.items ?? [];
}

async function statuses(): Promise<readonly Status[]> {
  return (await pods())[0]?.status.containerStatuses ?? [];
}

// Needs `CLUSTER_KIND=standalone hack/cluster up`: a kubelet without an API server.
describe("a kubelet alone", () => {
  beforeAll(() => copyFileSync(fileURLToPath(new URL("standalone.yaml", import.meta.url)), file));
  afterAll(() => rmSync(file, { force: true }));

  it("runs a static pod with init container, volume and probes", async () => {
    await eventually("both containers are ready", 60, async () => {
      const all = await statuses();
      return all.length === 2 && all.every(({ ready }) => ready);
    });
    const [pod] = await pods();
    expect(await curl(`http://${pod?.status.podIP}/`)).toBe("made before");
  }, 90_000);

  it("executes, reads logs and reports usage", async () => {
    const [name = ""] = (await pods()).map((pod) => pod.metadata.name);
    const kubelet = "https://127.0.0.1:10250";
    expect(await curl("-k", "-X", "POST", `${kubelet}/run/default/${name}/web?cmd=cat+/etc/hostname`)).toBe(
      name,
    );
    expect(await curl("-k", `${kubelet}/containerLogs/default/${name}/counter?limitBytes=3`)).toBe("1\n2");
    await eventually("the summary has figures of both containers", 40, async () => {
      const summary = JSON.parse(await curl("http://127.0.0.1:10255/stats/summary")) as Summary;
      const containers = summary.pods[0]?.containers ?? [];
      return (
        containers.length === 2 &&
        containers.every(({ cpu, memory }) => cpu.usageCoreNanoSeconds > 0 && memory.workingSetBytes > 0)
      );
    });
  });

  it("keeps its containers when the server is killed, and ends them with the file", async () => {
    const before = (await statuses()).map(({ containerID }) => containerID);
    await clusterCommand("restart", "berthd", "KILL");
    await new Promise((resolve) => setTimeout(resolve, 4000));
    const after = await statuses();
    expect(after.map(({ containerID }) => containerID)).toEqual(before);
    expect(after.map(({ restartCount }) => restartCount)).toEqual([0, 0]);
    rmSync(file);
    await eventually("the pod is gone", 60, async () => (await pods()).length === 0);
  }, 90_000);

  it("has nothing to complain of", () => {
    expect(runtimeErrors("restarts", 0)).toEqual([]);
  });
});
