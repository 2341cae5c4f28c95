import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NamespaceMode } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, TestPod } from "../lib/pod.ts";
import { longTransfer, Streaming, transports } from "../lib/streaming.ts";

// Port-forward by stock crictl, over both transports.

let server: Berthd;
let pod: TestPod;
let streaming: Streaming;

beforeAll(async () => {
  server = await Berthd.start();
  streaming = new Streaming(server);
  await pull(server);
  pod = await TestPod.run(server);
});
afterAll(async () => {
  await pod?.remove();
  await server?.[Symbol.asyncDispose]();
});

const echoServer = `
  const server = require("net").createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  server.listen(Number(process.argv[1]), "::1", () => console.log("ready"));`;

const copyClient = `
  const socket = require("net").connect({ port: Number(process.argv[1]), host: "127.0.0.1", allowHalfOpen: true });
  process.stdin.pipe(socket).pipe(process.stdout);`;

/** Where the pod's network namespace is pinned. */
function netns(): string {
  const [name = ""] = readdirSync(join(server.dir, "netns"));
  return join(server.dir, "netns", name);
}

describe.each(transports)("port-forward over %s", (transport) => {
  let forwarder: ChildProcess & { stdout: Readable };
  let port: number;
  let service: ChildProcess;

  beforeAll(async () => {
    // Echoes, on the IPv6 localhost only: the IPv4 one is refused first.
    service = spawn("nsenter", [`--net=${netns()}`, process.execPath, "-e", echoServer, "7001"]);
    await once(service.stdout ?? service, "data");
    forwarder = streaming.crictl("port-forward", "--transport", transport, pod.id, ":7001", ":7002");
    port = Number(/:(\d+) -> 7001/.exec(String((await once(forwarder.stdout, "data"))[0]))?.[1]);
  });
  afterAll(async () => {
    forwarder?.kill("SIGKILL");
    service.kill("SIGKILL");
    await once(service, "close");
  });

  it(`carries ${longTransfer} there and back intact`, async () => {
    const expected = await streaming.checksum();
    const seen = await streaming.transfer(
      `port-forward ${transport} there and back`,
      `${streaming.source} | node -e '${copyClient}' ${port} | sha256sum`,
    );
    expect(seen.result).toBe(expected);
  });

  it("serves many connections at once", async () => {
    const files = streaming.openFiles();
    const answers = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
        socket.end(`connection ${index}`);
        return Buffer.concat(await socket.toArray()).toString();
      }),
    );
    expect(answers).toEqual(answers.map((_, index) => `connection ${index}`));
    await eventually(() => expect(streaming.openFiles()).toBeLessThanOrEqual(files));
  });
});

describe("a port-forward", () => {
  async function forward(target: TestPod, remote: number) {
    const forwarder = streaming.crictl("port-forward", target.id, `:${remote}`);
    const line = String((await once(forwarder.stdout, "data"))[0]);
    return { forwarder, port: Number(/:(\d+) ->/.exec(line)?.[1]) };
  }

  it("reaches what listens on the host in a pod of the host's network", async () => {
    const listener = createServer((socket) => socket.end("the host"));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    const pod = await TestPod.run(server, {
      linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } },
    });
    const { forwarder, port } = await forward(pod, (listener.address() as AddressInfo).port);
    const chunks = await connect(port, "127.0.0.1").toArray();
    expect(Buffer.concat(chunks).toString()).toBe("the host");
    forwarder.kill("SIGKILL");
    listener.close();
    await pod.remove();
  });

  it("says why a port can't be reached, and leaves the server alone", async () => {
    const { forwarder, port } = await forward(pod, 7009);
    const errors = forwarder.stderr?.toArray();
    expect(await connect(port, "127.0.0.1").toArray()).toEqual([]);
    expect(Buffer.concat((await errors) ?? []).toString()).toContain("port 7009");
    forwarder.kill("SIGKILL");
    expect((await server.runtime.version()).runtimeName).toBe("berth");
  });

  it("ends with its client", async () => {
    const files = streaming.openFiles();
    const service = spawn("nsenter", [`--net=${netns()}`, process.execPath, "-e", echoServer, "7005"]);
    await once(service.stdout, "data");
    const { forwarder, port } = await forward(pod, 7005);
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write("x");
    await once(socket, "data");
    forwarder.kill("SIGKILL");
    await eventually(() => expect(streaming.openFiles()).toBeLessThanOrEqual(files));
    service.kill("SIGKILL");
    await once(service, "close");
  });
});
