import { globSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { apply, clusterCommand, eventually, kubectl, useCluster } from "./cluster.ts";

useCluster("scale");

/** What the kubelet allows on one node by default. */
const pods = 110;

type Seconds = ReadonlyMap<string, number>;

/** CPU seconds of each component so far. */
async function cpu(): Promise<Seconds> {
  const lines = (await clusterCommand("cpu")).split("\n");
  return new Map(
    lines.map((line) => {
      const [name = "", seconds = ""] = line.split(" ");
      return [name, Number(seconds)];
    }),
  );
}

function between(before: Seconds, after: Seconds): Seconds {
  return new Map([...after].map(([name, seconds]) => [name, seconds - (before.get(name) ?? 0)]));
}

function shown(used: Seconds): string {
  const all = [...used.values()].reduce((sum, seconds) => sum + seconds, 0);
  const share = (seconds: number): string => `${((100 * seconds) / all).toFixed(0)}%`;
  return [...used]
    .sort(([, one], [, other]) => other - one)
    .map(([name, seconds]) => `  ${name.padEnd(24)} ${seconds.toFixed(1).padStart(6)} s  ${share(seconds)}`)
    .join("\n");
}

function shareOf(used: Seconds, name: string): number {
  const all = [...used.values()].reduce((sum, seconds) => sum + seconds, 0);
  return (used.get(name) ?? 0) / all;
}

/** Proportional set size in MiB of what runs in the server's group: of the server itself, and of all else. */
function memory(): { readonly server: number; readonly rest: number } {
  const group = `${process.env.BERTH_TEST_CGROUP ?? ""}/berth-cluster-host/berthd/cgroup.procs`;
  const file = globSync([`/sys/fs/cgroup${group}`, `/sys/fs/cgroup/pids${group}`])[0];
  if (file === undefined) throw new Error(`no ${group}`);
  let server = 0;
  let rest = 0;
  for (const pid of readFileSync(file, "utf8").trim().split("\n")) {
    const size = Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]) / 1024;
    if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("berthd.js")) server += size;
    else rest += size;
  }
  return { server, rest };
}

const pause = (seconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const scale = (replicas: number): Promise<string> =>
  kubectl("scale", "deployment/many", `--replicas=${replicas}`);

async function ready(): Promise<number> {
  return Number(await kubectl("get", "deployment", "many", "-o", "jsonpath={.status.readyReplicas}"));
}

describe("scale", () => {
  // Shares of a processor are what they are only while nothing else uses it: three tries.
  it("starts 110 pods with a small share of the work, and rests with them", {
    timeout: 900_000,
    retry: 2,
  }, async (test) => {
    await apply(test, "many");
    // The kubelet would count the pulls of the image, and refuse all above five in a second.
    await scale(1);
    await eventually("the image is there", 60, async () => (await ready()) === 1);
    const idleBefore = await cpu();
    const start = performance.now();
    await scale(pods);
    await eventually("every pod is ready", 300, async () => (await ready()) === pods);
    const seconds = (performance.now() - start) / 1000;
    const starting = between(idleBefore, await cpu());
    await pause(15);
    const before = await cpu();
    await pause(40);
    const idle = between(before, await cpu());
    const { server, rest } = memory();
    const stop = performance.now();
    const stopBefore = await cpu();
    await scale(0);
    await eventually(
      "every pod is gone",
      300,
      async () => (await kubectl("get", "pods", "-l", "app=many", "-o", "name")) === "",
    );
    const stopSeconds = (performance.now() - stop) / 1000;
    const stopping = between(stopBefore, await cpu());
    const idlePercent = ((idle.get("berthd") ?? 0) / 40) * 100;
    console.log(
      `${pods} pods ready in ${seconds.toFixed(1)} s, CPU:\n${shown(starting)}\n` +
        `gone in ${stopSeconds.toFixed(1)} s, CPU:\n${shown(stopping)}\n` +
        `idle: berthd ${idlePercent.toFixed(2)}% of a core, ${server.toFixed(1)} MiB; ` +
        `its helpers and monitors ${(rest / pods).toFixed(3)} MiB a pod`,
    );
    expect(shareOf(starting, "berthd")).toBeLessThan(0.25);
    expect(idlePercent).toBeLessThan(2);
    expect(server).toBeLessThan(150);
    expect(rest / pods).toBeLessThan(1);
  });
});
