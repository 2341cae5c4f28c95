import { setTimeout as sleep } from "node:timers/promises";
import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { isEmulated } from "../lib/kernel.ts";
import { residentMiB } from "../lib/memory.ts";
import { Dice } from "../lib/mutate.ts";
import { busybox, podConfig, pull, TestPod } from "../lib/pod.ts";
import { everyRpc, type Rpc, rawCall } from "../lib/raw-call.ts";

const seed = Number(process.env.BERTH_FUZZ_SEED ?? 20_261_124);
const calls = Number(process.env.BERTH_FUZZ_CALLS ?? 3000);
const atOnce = 8;

/** gRPC's INTERNAL and UNAVAILABLE. */
const internal = 13;
const unavailable = 14;

let server: Berthd;
let client: Client;

beforeAll(async () => {
  server = await Berthd.start({ flags: ["--log-level", "info"] });
  await pull(server);
  await (await TestPod.run(server)).remove();
  client = new Client(`unix://${server.socket}`, credentials.createInsecure());
  // It connects when it is used first, and the server's end of that is a descriptor.
  for (const rpc of everyRpc) if (rpc.name === "Version") await rawCall(client, rpc, Buffer.alloc(0));
});

afterAll(async () => {
  client.close();
  await server[Symbol.asyncDispose]();
});

/** A request to each RPC that would succeed; no path of the machine is in it, for a corruption could make it another. */
function request(rpc: Rpc, dice: Dice, podSandboxId: string, containerId: string): object {
  const image = { image: busybox };
  const filter = { id: podSandboxId, state: { state: 0 }, labelSelector: { app: "fuzz" } };
  const config = { ...podConfig(server), logDirectory: "", labels: { app: "fuzz" }, hostname: "fuzz" };
  const metadata = { name: `c${dice.below(1e6)}`, attempt: 0 };
  const container = {
    metadata,
    image,
    command: ["/bin/sleep", "5"],
    envs: [{ key: "A", value: Buffer.from("1") }],
    linux: {
      resources: { cpuShares: 512n, memoryLimitInBytes: 64n << 20n },
      securityContext: { runAsUser: { value: 7n }, capabilities: { addCapabilities: ["NET_ADMIN"] } },
    },
  };
  switch (rpc.name) {
    case "RunPodSandbox":
      return { config };
    case "CreateContainer":
      return { podSandboxId, config: container, sandboxConfig: config };
    case "ExecSync":
    case "Exec":
    case "Attach":
      return { containerId, cmd: ["/bin/true"], stdout: true, timeout: 1n };
    case "UpdateContainerResources":
      return { containerId, linux: container.linux.resources };
    case "PortForward":
      return { podSandboxId, port: [80, 443] };
    case "ImageStatus":
      return { image, verbose: true };
    case "PullImage":
      return { image, auth: { username: "u", password: "p" }, sandboxConfig: config };
    case "RemoveImage":
      return { image: { image: "registry.test/absent:1" } };
    case "ListImages":
    case "StreamImages":
      return { filter: { image } };
    default:
      return { podSandboxId, containerId, filter, timeout: 1n };
  }
}

/** The same bytes with some changed, cut out, doubled or put elsewhere. */
function corrupt(bytes: Buffer, dice: Dice): Buffer {
  let result = Buffer.from(bytes);
  for (let rounds = 1 + dice.below(4); rounds > 0 && result.length > 0; rounds -= 1) {
    const at = dice.below(result.length);
    const end = Math.min(result.length, at + 1 + dice.below(32));
    const [before, part, after] = [result.subarray(0, at), result.subarray(at, end), result.subarray(end)];
    const changed = Buffer.from(part.map((byte, index) => (index === 0 ? dice.below(256) : byte)));
    result = Buffer.concat(
      dice.pick([
        [before, changed, after],
        [before, after],
        [before, part, part, after],
        [part, before, after],
      ]),
    );
  }
  return result;
}

/** One request, mostly corrupt; most clients wait, some give up. */
async function shot(dice: Dice, pods: readonly string[], containers: readonly string[]): Promise<number> {
  const rpc = dice.pick(everyRpc);
  const whole = rpc.encode(request(rpc, dice, dice.pick(pods), dice.pick(containers)));
  const bytes = dice.below(5) === 0 ? whole : corrupt(whole, dice);
  const controller = new AbortController();
  const deadline = rpc.name === "GetContainerEvents" ? 50 : dice.pick([10_000, 10_000, 10_000, 20, 2]);
  const outcome = rawCall(client, rpc, bytes, { deadline, signal: controller.signal });
  if (dice.below(10) === 0) setTimeout(() => controller.abort(), dice.below(30));
  const { code, details } = await outcome;
  const what = `${details} after ${rpc.name} ${bytes.toString("base64").slice(0, 3000)}`;
  // What is no message is internal by gRPC's own rule, and a command that can't be executed by CRI's; a fault has a number.
  if (code === internal && /\(error [0-9a-f]{12}\)/.test(details)) throw new Error(what);
  if (code === unavailable) throw new Error(`the server is gone: ${what}`);
  return code;
}

it(`any bytes are answered by any RPC, and leave nothing (seed ${seed})`, { timeout: 300_000 }, async ({
  skip,
}) => {
  if (isEmulated) skip("nothing of this depends on the kernel");
  const before = await footprint(server);
  const { pid } = server;
  const codes = new Map<number, number>();
  let done = 0;
  const shooter = async (dice: Dice): Promise<void> => {
    while (done < calls) {
      done += 1;
      const pods = (await server.runtime.listPodSandbox()).items.map(({ id }) => id);
      const containers = (await server.runtime.listContainers()).containers.map(({ id }) => id);
      if (pods.length > 12) await server.runtime.removePodSandbox({ podSandboxId: dice.pick(pods) });
      const absent = "f".repeat(64);
      const code = await shot(dice, [...pods, absent], [...containers, absent]);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, (_, index) => shooter(new Dice(seed + index))));
  expect(server.pid).toBe(pid);
  const counts = [...codes].toSorted(([a], [b]) => a - b).map(([code, count]) => `${code}: ${count}`);
  console.log(`answers by code ${counts.join(", ")}; server ${residentMiB(pid).toFixed(0)} MiB`);
  // A pod whose caller has gone may still come to be.
  await sleep(1000);
  await server.removePods();
  await expectNothingLeft(server, before, 20_000);
  expect(residentMiB(pid)).toBeLessThan(250);
  expect(await server.log()).not.toContain("nobody handled it");
});
