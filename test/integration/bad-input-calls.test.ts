import { setTimeout as sleep } from "node:timers/promises";
import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { residentMiB } from "../lib/memory.ts";
import { busybox, podConfig, pull, TestPod } from "../lib/pod.ts";
import { everyRpc, type Rpc, rawCall } from "../lib/raw-call.ts";

let server: Berthd;
let client: Client;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  // The first pod of a server makes what all others use: the bridge, the tables.
  await (await TestPod.run(server)).remove();
  client = new Client(`unix://${server.socket}`, credentials.createInsecure(), {
    "grpc.max_send_message_length": -1,
  });
});

afterAll(async () => {
  client.close();
  await server[Symbol.asyncDispose]();
});

const code = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
} as const;

/** What an RPC says to an empty request: these need something, checkpoints are not there, all others answer. */
const emptyRequest: Readonly<Record<string, readonly [number, RegExp]>> = {
  RunPodSandbox: [code.invalidArgument, /config/],
  StopPodSandbox: [code.invalidArgument, /pod_sandbox_id/],
  RemovePodSandbox: [code.invalidArgument, /pod_sandbox_id/],
  PodSandboxStatus: [code.invalidArgument, /pod_sandbox_id/],
  PodSandboxStats: [code.invalidArgument, /pod_sandbox_id/],
  UpdatePodSandboxResources: [code.invalidArgument, /pod_sandbox_id/],
  PortForward: [code.invalidArgument, /pod_sandbox_id/],
  CreateContainer: [code.invalidArgument, /pod_sandbox_id/],
  StartContainer: [code.invalidArgument, /container_id/],
  StopContainer: [code.invalidArgument, /container_id/],
  RemoveContainer: [code.invalidArgument, /container_id/],
  ContainerStatus: [code.invalidArgument, /container_id/],
  ContainerStats: [code.invalidArgument, /container_id/],
  UpdateContainerResources: [code.invalidArgument, /container_id/],
  ReopenContainerLog: [code.invalidArgument, /container_id/],
  ExecSync: [code.invalidArgument, /container_id/],
  Exec: [code.invalidArgument, /container_id/],
  Attach: [code.invalidArgument, /container_id/],
  ImageStatus: [code.invalidArgument, /image/],
  PullImage: [code.invalidArgument, /image/],
  RemoveImage: [code.invalidArgument, /image/],
  CheckpointContainer: [code.unimplemented, /./],
  CheckpointPod: [code.unimplemented, /./],
  RestorePod: [code.unimplemented, /./],
  // It has no end of its own.
  GetContainerEvents: [code.deadlineExceeded, /./],
};

const named = everyRpc.map((rpc) => [rpc.name, rpc] as const);

describe("an empty request", () => {
  it.each(named)("to %s is answered", async (name, rpc) => {
    const [expected, message] = emptyRequest[name] ?? [code.ok, /^$/];
    const deadline = name === "GetContainerEvents" ? 300 : 5000;
    const outcome = await rawCall(client, rpc, Buffer.alloc(0), { deadline });
    expect(outcome).toEqual({ code: expected, details: expect.stringMatching(message) });
  });
});

describe("bytes that are no message", () => {
  it.each(named)("are refused by %s", async (_name, rpc) => {
    // A length beyond the end, a group that never ends, a tag of a wire type that there is not.
    for (const bytes of [[0x0a, 0x7f, 0x01], [0x0b], [0x0f, 0x00]]) {
      expect((await rawCall(client, rpc, Buffer.from(bytes))).code).toBe(code.internal);
    }
  });
});

describe("16 MiB", () => {
  /** One field that no message has: it has to be read and kept for nothing. */
  const field = (bytes: number): Buffer => {
    const length = Buffer.alloc(4);
    for (let at = 0, rest = bytes; at < 4; at += 1, rest >>= 7)
      length[at] = (rest & 0x7f) | (at < 3 ? 0x80 : 0);
    return Buffer.concat([Buffer.from([0xfa, 0x3f]), length, Buffer.alloc(bytes)]);
  };

  it.each(named)("to %s are read, and twice as much is not", async (name, rpc) => {
    const deadline = name === "GetContainerEvents" ? 1000 : 20_000;
    const [expected] = emptyRequest[name] ?? [code.ok];
    expect((await rawCall(client, rpc, field((16 << 20) - 64), { deadline })).code).toBe(expected);
    const refused = await rawCall(client, rpc, field((32 << 20) + 1024), { deadline: 20_000 });
    expect(refused.code).toBe(code.resourceExhausted);
  });

  it("leave no memory taken", async () => {
    await expect.poll(() => residentMiB(server.pid), { timeout: 10_000 }).toBeLessThan(250);
  });
});

/** A request to each RPC that would succeed, on a pod and a container of its own. */
async function validRequests(pod: TestPod): Promise<Readonly<Record<string, object>>> {
  const running = (await pod.start()).id;
  const created = (await pod.create()).id;
  const image = { image: { image: busybox } };
  const sandbox = { podSandboxId: pod.id };
  const container = { containerId: running };
  return {
    RunPodSandbox: { config: podConfig(server) },
    CreateContainer: {
      ...sandbox,
      config: {
        metadata: { name: "late", attempt: 0 },
        ...image,
        command: ["/bin/sleep", "60"],
        logPath: "late.log",
      },
      sandboxConfig: pod.config,
    },
    StartContainer: { containerId: created },
    ContainerStatus: container,
    ContainerStats: container,
    UpdateContainerResources: { ...container, linux: { cpuShares: 512n } },
    ReopenContainerLog: container,
    ExecSync: { ...container, cmd: ["/bin/sleep", "3"], timeout: 5n },
    Exec: { ...container, cmd: ["/bin/true"], stdout: true },
    Attach: { ...container, stdout: true },
    PodSandboxStatus: sandbox,
    PodSandboxStats: sandbox,
    UpdatePodSandboxResources: { ...sandbox, resources: { cpuShares: 512n } },
    PortForward: { ...sandbox, port: [80] },
    PullImage: { image: { image: busybox } },
    ImageStatus: image,
    StopContainer: { ...container, timeout: 1n },
    RemoveContainer: container,
    StopPodSandbox: sandbox,
    RemovePodSandbox: sandbox,
  };
}

/** Those that end something come last, so that the others find it. */
const last = ["StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"];
const inOrder = [
  ...everyRpc.filter(({ name }) => !last.includes(name) && name !== "RemoveImage"),
  ...last.flatMap((name) => everyRpc.filter((rpc) => rpc.name === name)),
];

/** Whatever came of it in the server, the client has given up: the same request must work again, and then nothing be left. */
async function afterGivingUp(
  give: (rpc: Rpc, bytes: Buffer) => Promise<number>,
): Promise<ReadonlyMap<string, number>> {
  const before = await footprint(server);
  const codes = new Map<string, number>();
  const pod = await TestPod.run(server);
  const requests = await validRequests(pod);
  for (const rpc of inOrder) {
    codes.set(rpc.name, await give(rpc, rpc.encode(requests[rpc.name] ?? {})));
  }
  // A pod whose caller has gone may still come to be, at any time on a busy machine; the kubelet would find it in the list.
  await eventually(async () => {
    await server.removePods();
    await expectNothingLeft(server, before, 1000);
  }, 15_000);
  return codes;
}

describe("a client that gives up", () => {
  it("by a deadline of 1 ms hears DeadlineExceeded from each RPC or gets its answer, and nothing is left", async () => {
    const codes = await afterGivingUp(async (rpc, bytes) => {
      const { code: ended, details } = await rawCall(client, rpc, bytes, { deadline: 1 });
      const refusals: readonly number[] = [code.ok, code.deadlineExceeded, code.unimplemented];
      expect(refusals, `${rpc.name}: ${ended} ${details}`).toContain(ended);
      return ended;
    });
    expect([...codes.values()]).toContain(code.deadlineExceeded);
  });

  it.each([0, 2, 20])("by cancelling each RPC after %i ms leaves nothing", async (milliseconds) => {
    const codes = await afterGivingUp(async (rpc, bytes) => {
      const controller = new AbortController();
      const outcome = rawCall(client, rpc, bytes, { signal: controller.signal, deadline: 10_000 });
      if (milliseconds > 0) await sleep(milliseconds);
      controller.abort();
      const { code: ended, details } = await outcome;
      const refusals: readonly number[] = [code.ok, code.cancelled, code.unimplemented];
      expect(refusals, `${rpc.name}: ${ended} ${details}`).toContain(ended);
      return ended;
    });
    expect(codes.get("ExecSync")).toBe(code.cancelled);
    expect(codes.get("GetContainerEvents")).toBe(code.cancelled);
  });
});
