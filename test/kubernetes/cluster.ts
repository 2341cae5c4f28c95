import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, type TestContext } from "vitest";
import { patience } from "../lib/patience.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const script = `${root}hack/cluster`;
/** Where the cluster keeps everything; static pods' manifests and the components' logs are in there. */
export const clusterDirectory = process.env.CLUSTER_DIR ?? "/var/tmp/berth-cluster";

/** Runs hack/cluster with these words; rejects with what it wrote when it fails, `code` on the error. */
async function call(args: readonly string[], timeoutMs: number, input = ""): Promise<string> {
  const child = spawn(script, args, { timeout: timeoutMs, stdio: ["pipe", "pipe", "pipe"] });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (data: Buffer) => out.push(data));
  child.stderr.on("data", (data: Buffer) => err.push(data));
  // A program may end without reading all of it.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const [code] = (await once(child, "close")) as [number | null];
  const text = Buffer.concat(out).toString();
  if (code === 0) return text.trim();
  const said = `${text}${Buffer.concat(err).toString()}`.trim();
  throw Object.assign(new Error(`${args.join(" ")} ended with ${code}: ${said}`), { code });
}

/** kubectl as the administrator; rejects with its stderr. */
export function kubectl(...args: readonly string[]): Promise<string> {
  return call(["kubectl", ...args], 120_000);
}

export function kubectlWith(input: string, ...args: readonly string[]): Promise<string> {
  return call(["kubectl", ...args], 60_000, input);
}

/** A command in the cluster's network and mount namespaces, i.e. on the node. */
export function onNode(...args: readonly string[]): Promise<string> {
  return call(["in", ...args], 60_000);
}

export function inPod(pod: string, ...command: readonly string[]): Promise<string> {
  return kubectl("exec", pod, "--", ...command);
}

export function clusterCommand(...args: readonly string[]): Promise<string> {
  return call(args, 300_000);
}

export function manifest(name: string): string {
  return `${root}test/kubernetes/manifests/${name}.yaml`;
}

/** Applies one file of manifests; what it made is deleted when the test has ended. */
export async function apply(test: Pick<TestContext, "onTestFinished">, name: string): Promise<void> {
  const file = manifest(name);
  test.onTestFinished(async () => {
    await kubectl("delete", "-f", file, "--ignore-not-found", "--wait=true", "--timeout=90s");
  });
  await kubectl("apply", "-f", file);
}

/** The value at a JSONPath of one object, "" when it is not there yet. */
export function field(kind: string, name: string, path: string): Promise<string> {
  return kubectl("get", kind, name, "-o", `jsonpath={${path}}`, "--ignore-not-found");
}

/** Runs `probe` until it returns true, for so many seconds of this machine; the last failure is in the message when time is up. */
export async function eventually(
  what: string,
  seconds: number,
  probe: () => Promise<boolean>,
): Promise<void> {
  const end = Date.now() + seconds * 1000 * patience;
  let last: unknown;
  while (Date.now() < end) {
    try {
      if (await probe()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(
    `${what}: not within ${seconds * patience} s${last instanceof Error ? `: ${last.message}` : ""}`,
    {
      cause: last,
    },
  );
}

export async function running(pod: string, seconds = 60): Promise<void> {
  await eventually(`pod ${pod} is ready`, seconds, async () => {
    const ready = await field("pod", pod, '.status.conditions[?(@.type=="Ready")].status');
    return ready === "True";
  });
}

export async function nodeReady(seconds = 60): Promise<void> {
  await eventually("the node is Ready", seconds, async () =>
    (await kubectl("get", "nodes")).includes(" Ready"),
  );
}

interface Tolerated {
  readonly match: string;
  /** Files of examples that mean to make it happen; without, it may be anywhere. */
  readonly in?: readonly string[];
  readonly reason: string;
}

const kubeletLog = `${clusterDirectory}/log/kubelet.log`;
/** Files of the kubelet that speak to a runtime, and what it says when one has failed. */
const namesRuntime =
  /remote_runtime|remote_image|kuberuntime|generic\.go|evented\.go|cri_stats|rpc error|runtime service|image service|container runtime|PLEG/;

/** Error lines of the kubelet, from `offset` on, that name the runtime and have no excuse in tolerated.json. */
export function runtimeErrors(examples: string, offset: number): readonly string[] {
  const file = fileURLToPath(new URL("tolerated.json", import.meta.url));
  const tolerated = JSON.parse(readFileSync(file, "utf8")) as readonly Tolerated[];
  const excuses = tolerated
    .filter((one) => one.in === undefined || one.in.includes(examples))
    .map(({ match }) => new RegExp(match));
  return readFileSync(kubeletLog)
    .subarray(offset)
    .toString()
    .split("\n")
    .filter((line) => /^E\d{4} /.test(line) && namesRuntime.test(line))
    .filter((line) => !excuses.some((excuse) => excuse.test(line)));
}

/** For each file of examples, by its name: needs a cluster, leaves it empty, and the kubelet content with its runtime. */
export function useCluster(examples: string): void {
  let before = 0;
  beforeAll(async () => {
    await nodeReady();
    before = statSync(kubeletLog).size;
  });
  afterAll(() => {
    const errors = runtimeErrors(examples, before);
    if (errors.length > 0) throw new Error(`the kubelet complains of its runtime:\n${errors.join("\n")}`);
  });
}
