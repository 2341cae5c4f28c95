import { spawn } from "node:child_process";
import { once } from "node:events";
import { Berthd, mirroredRegistries } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { CriClient } from "../lib/cri-client.ts";
import { removeLasting } from "../lib/lasting.ts";
import { busybox } from "../lib/pod.ts";
import { startRegistry, stopRegistry } from "../lib/registry.ts";
import { Containerd } from "./containerd.ts";

/**
 * Moves a gigabyte through exec and port-forward with Berth and with Debian's containerd, turn by turn, by the same stock
 * crictl, and prints the rates. containerd speaks SPDY only.
 *
 *   hack/isolated node test/bench/streaming.ts [rounds]
 */
const rounds = Number(process.argv[2] ?? 3);
const bytes = 1_000_000_000;
const servicePort = 7001;

interface Subject {
  readonly name: string;
  readonly socket: string;
  readonly client: CriClient;
  readonly podId: string;
  readonly containerId: string;
}

/** Sends zeros to whoever connects. */
const zeros = `
  const block = Buffer.alloc(1 << 16);
  require("net").createServer((socket) => {
    let left = ${bytes};
    const more = () => {
      while (left > 0) {
        const part = block.subarray(0, Math.min(left, block.length));
        left -= part.length;
        if (!socket.write(part)) return;
      }
      socket.end();
    };
    socket.on("drain", more).on("error", () => {});
    more();
  }).listen(${servicePort}, "127.0.0.1", () => console.log("ready"));`;

async function prepare(name: string, socket: string): Promise<Subject> {
  const client = new CriClient(socket);
  await client.image.pullImage({ image: { image: busybox } });
  const config = { metadata: { name: "stream", uid: name, namespace: "bench", attempt: 0 }, linux: {} };
  const { podSandboxId } = await client.runtime.runPodSandbox({ config });
  const { containerId } = await client.runtime.createContainer({
    podSandboxId,
    sandboxConfig: config,
    config: {
      metadata: { name: "c", attempt: 0 },
      image: { image: busybox },
      command: ["/bin/sleep", "86400"],
    },
  });
  await client.runtime.startContainer({ containerId });
  return { name, socket, client, podId: podSandboxId, containerId };
}

function crictl(subject: Subject, ...args: string[]): string {
  const endpoint = `unix://${subject.socket}`;
  return ["crictl", "--runtime-endpoint", endpoint, "--image-endpoint", endpoint, ...args].join(" ");
}

/** MB/s of a pipeline that moves the bytes and ends with their count. */
async function rate(pipeline: string): Promise<number> {
  const start = performance.now();
  const counted = Number((await run("sh", ["-c", pipeline], { timeout: 300_000 })).trim());
  if (counted !== bytes) throw new Error(`${pipeline}: ${counted} bytes arrived`);
  return bytes / 1000 / (performance.now() - start);
}

/** The network namespace of the pod's processes. */
async function netnsOf(subject: Subject): Promise<string> {
  const { info } = await subject.client.runtime.containerStatus({
    containerId: subject.containerId,
    verbose: true,
  });
  const { pid } = JSON.parse(info?.info ?? "{}") as { pid?: number };
  return `/proc/${pid}/ns/net`;
}

async function portForward(subject: Subject, transport: string): Promise<number> {
  const command = crictl(subject, "port-forward", "--transport", transport, subject.podId, `:${servicePort}`);
  const forwarder = spawn("sh", ["-c", `exec ${command}`], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const port = /:(\d+) ->/.exec(String((await once(forwarder.stdout, "data"))[0]))?.[1];
    const reader = `let n = 0; require("net").connect(${port}, "127.0.0.1").on("data", (d) => { n += d.length; }).on("close", () => console.log(n))`;
    return await rate(`node -e '${reader}'`);
  } finally {
    forwarder.kill("SIGKILL");
  }
}

async function measure(subject: Subject, transport: string): Promise<Record<string, number>> {
  const exec = ["exec", "--transport", transport];
  // busybox's head and wc handle their input byte by byte, and would measure themselves.
  const giver = `dd if=/dev/zero bs=100000 count=${bytes / 100_000}`;
  const taker = `cat > /dev/null; echo ${bytes}`;
  return {
    "exec out": await rate(`${crictl(subject, ...exec, subject.containerId, giver)} 2>/dev/null | wc -c`),
    "exec in": await rate(
      `${giver} 2>/dev/null | ${crictl(subject, ...exec, "-i", subject.containerId, "sh", "-c", `'${taker}'`)}`,
    ),
    "port-forward": await portForward(subject, transport),
  };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

async function main(): Promise<void> {
  const registry = await startRegistry();
  try {
    await using berthd = await Berthd.start({ flags: ["--log-level", "info"] });
    await using containerd = await Containerd.start(mirroredRegistries);
    const subjects = [
      [await prepare("berth", berthd.socket), "spdy"],
      [await prepare("containerd", containerd.socket), "spdy"],
    ] as const;
    const [[own], [peer]] = subjects;
    using services = new DisposableStack();
    for (const [subject] of subjects) {
      const service = spawn("nsenter", [`--net=${await netnsOf(subject)}`, process.execPath, "-e", zeros]);
      services.defer(() => service.kill("SIGKILL"));
      await once(service.stdout, "data");
    }
    const rates = new Map<string, number[]>();
    for (let round = 1; round <= rounds; round += 1) {
      console.error(`round ${round} of ${rounds}`);
      for (const [subject, transport] of [...subjects, [own, "websocket"] as const]) {
        for (const [what, value] of Object.entries(await measure(subject, transport))) {
          const key = `${subject.name} ${transport} ${what}`;
          rates.set(key, [...(rates.get(key) ?? []), value]);
        }
      }
    }
    const of = (key: string) => median(rates.get(key) ?? []);
    const cell = (text: string) => text.padStart(16);
    console.log(
      `${"MB/s".padEnd(16)}${["berth spdy", "containerd spdy", "ratio", "berth ws"].map(cell).join("")}`,
    );
    for (const what of ["exec out", "exec in", "port-forward"]) {
      const [ours, theirs] = [of(`berth spdy ${what}`), of(`containerd spdy ${what}`)];
      const numbers = [ours.toFixed(0), theirs.toFixed(0), (ours / theirs).toFixed(2)];
      console.log(
        `${what.padEnd(16)}${[...numbers, of(`berth websocket ${what}`).toFixed(0)].map(cell).join("")}`,
      );
    }
    own.client.close();
    peer.client.close();
  } finally {
    await stopRegistry(registry);
    await removeLasting();
  }
}

await main();
