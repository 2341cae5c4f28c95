import {
  copyFileSync,
  existsSync,
  globSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { fileURLToPath } from "node:url";
import { clusterCommand, clusterDirectory, eventually, onNode } from "../kubernetes/cluster.ts";

export interface ContainerStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly restartCount: number;
  readonly containerID: string;
}

export interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly status: { readonly podIP?: string; readonly containerStatuses?: readonly ContainerStatus[] };
}

interface Cpu {
  readonly usageNanoCores?: number;
  readonly usageCoreNanoSeconds: number;
  readonly psi?: { readonly some: { readonly total: number } };
}

interface Memory {
  readonly workingSetBytes: number;
  readonly psi?: { readonly some: { readonly total: number } };
}

interface Space {
  readonly usedBytes?: number;
}

export interface ContainerFigures {
  readonly name: string;
  readonly cpu: Cpu;
  readonly memory: Memory;
  readonly rootfs?: Space;
  readonly logs?: Space;
}

export interface PodFigures {
  readonly podRef: { readonly name: string };
  readonly cpu: Cpu;
  readonly memory: Memory;
  readonly network?: { readonly name: string; readonly rxBytes: number; readonly txBytes: number };
  readonly process_stats?: { readonly process_count: number };
  readonly "ephemeral-storage"?: Space;
  readonly containers: readonly ContainerFigures[];
}

const configuration = `${clusterDirectory}/conf/kubelet.yaml`;
const log = `${clusterDirectory}/log/kubelet.log`;

/** Over the kubelet's ports: 10250 is TLS and may do everything, 10255 reads. */
export function curl(...words: readonly string[]): Promise<string> {
  return onNode("curl", "-sSf", "--max-time", "5", ...words);
}

/** Runs it with these feature gates, or as it comes for ""; returns where its log goes on. */
export async function restartKubelet(gates: string): Promise<number> {
  const before = readFileSync(configuration, "utf8");
  const after = before.replace(/^featureGates:.*$/m, `featureGates: {${gates}}`);
  const end = statSync(log).size;
  if (after === before) return end;
  writeFileSync(configuration, after);
  await clusterCommand("restart", "kubelet");
  await eventually(
    "the kubelet is healthy",
    60,
    async () => (await curl("http://127.0.0.1:10248/healthz")) === "ok",
  );
  return end;
}

export function kubeletLog(offset: number): string {
  return readFileSync(log).subarray(offset).toString();
}

/**
 * A file of this folder becomes a static pod; `remove` ends it, and waits until the kubelet has forgotten it whole:
 * the same file again is a pod of the same UID, whose init containers would count as done.
 */
export function staticPod(name: string): { add(): void; remove(): Promise<void> } {
  const file = `${clusterDirectory}/manifests/${name}`;
  return {
    add: () => copyFileSync(fileURLToPath(new URL(name, import.meta.url)), file),
    remove: async () => {
      rmSync(file, { force: true });
      await eventually("the pod is gone", 60, async () => {
        const listed = await pods();
        return listed.length === 0 && readdirSync(`${clusterDirectory}/kubelet/pods`).length === 0;
      });
    },
  };
}

export async function pods(): Promise<readonly Pod[]> {
  const list = JSON.parse(await curl("http://127.0.0.1:10255/pods")) as { items: readonly Pod[] | null };
  return list.items ?? [];
}

export async function containerStatuses(): Promise<readonly ContainerStatus[]> {
  return (await pods())[0]?.status.containerStatuses ?? [];
}

/** Waits for this many containers of the one pod, all ready. */
export async function containersReady(count: number): Promise<Pod> {
  await eventually(`${count} containers are ready`, 60, async () => {
    const all = await containerStatuses();
    return all.length === count && all.every(({ ready }) => ready);
  });
  const [pod] = await pods();
  if (pod === undefined) throw new Error("the pod is gone");
  return pod;
}

/** Runs a command in a container and returns what it wrote. The kubelet splits it at spaces. */
export async function execute(pod: Pod, container: string, command: string): Promise<string> {
  const url = `https://127.0.0.1:10250/run/default/${pod.metadata.name}/${container}`;
  return await curl("-k", "--max-time", "30", "-X", "POST", `${url}?cmd=${encodeURIComponent(command)}`);
}

/** The kubelet's figures of the one pod; undefined until it has some. */
export async function figures(): Promise<PodFigures | undefined> {
  const text = await curl("http://127.0.0.1:10255/stats/summary");
  return (JSON.parse(text) as { readonly pods: readonly PodFigures[] }).pods[0];
}

/** The value of one of the kubelet's own metrics, 0 when it has not been counted yet. */
export async function metric(name: string): Promise<number> {
  const lines = (await curl("http://127.0.0.1:10255/metrics")).split("\n");
  return lines
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

export const isV2 = existsSync("/sys/fs/cgroup/cgroup.controllers");

/** The group of a container of a pod of any class, as the kernel has it. */
export class Group {
  readonly #path: string;

  constructor(containerId: string) {
    const id = containerId.replace(/^.*:\/\//, "");
    const pod = `${process.env.BERTH_TEST_CGROUP ?? ""}/berth-cluster/kubepods`;
    const patterns = [`${pod}/pod*/${id}`, `${pod}/*/pod*/${id}`];
    const found = globSync(patterns.map((pattern) => `/sys/fs/cgroup${isV2 ? "" : "/memory"}${pattern}`))[0];
    if (found === undefined) throw new Error(`no group of ${containerId}`);
    this.#path = found.replace(/^\/sys\/fs\/cgroup(\/memory)?/, "");
  }

  /** A file of one controller. */
  read(controller: string, file: string): string {
    return readFileSync(`/sys/fs/cgroup${isV2 ? "" : `/${controller}`}${this.#path}/${file}`, "utf8").trim();
  }

  get cpuNanoseconds(): number {
    if (!isV2) return Number(this.read("cpuacct", "cpuacct.usage"));
    return Number(/^usage_usec (\d+)/m.exec(this.read("cpu", "cpu.stat"))?.[1]) * 1000;
  }

  /** As the kubelet counts: without file pages that nobody has used lately. */
  get workingSet(): number {
    const usage = Number(this.read("memory", isV2 ? "memory.current" : "memory.usage_in_bytes"));
    const inactive = isV2 ? /^inactive_file (\d+)/m : /^total_inactive_file (\d+)/m;
    return usage - Number(inactive.exec(this.read("memory", "memory.stat"))?.[1]);
  }

  /** The first process. */
  get pid(): number {
    return Number(this.read("memory", "cgroup.procs").split("\n")[0]);
  }

  get processes(): number {
    return this.read("memory", "cgroup.procs").split("\n").length;
  }
}
