import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const cluster = `${root}hack/cluster`;

async function call(args: readonly string[], timeoutMs: number): Promise<string> {
  const { stdout } = await run(cluster, args, { timeout: timeoutMs, maxBuffer: 64 << 20 });
  return stdout.trim();
}

/** kubectl as the administrator; rejects with its stderr. */
export function kubectl(...args: readonly string[]): Promise<string> {
  return call(["kubectl", ...args], 120_000);
}

/** A command in the cluster's network and mount namespaces, i.e. on the node. */
export function onNode(...args: readonly string[]): Promise<string> {
  return call(["in", ...args], 60_000);
}

export function clusterCommand(...args: readonly string[]): Promise<string> {
  return call(args, 600_000);
}

export function manifest(name: string): string {
  return `${root}test/kubernetes/manifests/${name}.yaml`;
}

/** The value at a JSONPath of one object, "" when it is not there yet. */
export async function field(kind: string, name: string, path: string): Promise<string> {
  return kubectl("get", kind, name, "-o", `jsonpath={${path}}`, "--ignore-not-found");
}

/** Runs `probe` until it returns true; the last failure is in the message when time is up. */
export async function eventually(
  what: string,
  seconds: number,
  probe: () => Promise<boolean>,
): Promise<void> {
  const end = Date.now() + seconds * 1000;
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
  throw new Error(`${what}: not within ${seconds} s`, { cause: last });
}

export async function running(pod: string, seconds = 60): Promise<void> {
  await eventually(`pod ${pod} is ready`, seconds, async () => {
    const ready = await field("pod", pod, '.status.conditions[?(@.type=="Ready")].status');
    return ready === "True";
  });
}
