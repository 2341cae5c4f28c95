import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Berthd } from "../lib/berthd.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";

// The WebSocket protocols as clients in other languages than Go speak them, byte by byte.

let server: Berthd;
let pod: TestPod;
let container: TestContainer;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  pod = await TestPod.run(server);
  container = await pod.start();
});
afterAll(async () => {
  await pod?.remove();
  await server?.[Symbol.asyncDispose]();
});

/** A client that collects what comes on each channel. */
async function open(url: string, ...protocols: string[]) {
  const socket = new WebSocket(url.replace("http:", "ws:"), protocols);
  const channels = new Map<number, Buffer>();
  const closed = once(socket, "close");
  socket.on("message", (message: Buffer, isBinary) => {
    const channel = (message[0] ?? 0) - (isBinary ? 0 : 0x30);
    const rest = message.subarray(1);
    const bytes = isBinary ? rest : Buffer.from(rest.toString(), "base64");
    channels.set(channel, Buffer.concat([channels.get(channel) ?? Buffer.alloc(0), bytes]));
  });
  await once(socket, "open");
  const text = (channel: number) => (channels.get(channel) ?? Buffer.alloc(0)).toString();
  return { socket, closed, channels, text };
}

async function exec(script: string, ...protocols: string[]) {
  const cmd = ["sh", "-c", script];
  const request = { containerId: container.id, cmd, stdin: true, stdout: true, stderr: true };
  return open((await server.runtime.exec(request)).url, ...protocols);
}

describe("exec", () => {
  it.each(["v5.channel.k8s.io", "v4.channel.k8s.io"])("speaks %s", async (protocol) => {
    const client = await exec("read line; echo got $line; echo err >&2; exit 3", protocol);
    expect(client.socket.protocol).toBe(protocol);
    client.socket.send(Buffer.from("\0typed\n"));
    await client.closed;
    expect([client.text(1), client.text(2)]).toEqual(["got typed\n", "err\n"]);
    expect(JSON.parse(client.text(3))).toMatchObject({
      status: "Failure",
      reason: "NonZeroExitCode",
      details: { causes: [{ reason: "ExitCode", message: "3" }] },
    });
  });

  it("ends stdin by v5's own signal", async () => {
    const client = await exec("cat", "v5.channel.k8s.io");
    client.socket.send(Buffer.from("\0typed"));
    client.socket.send(Buffer.of(255, 0));
    await client.closed;
    expect(client.text(1)).toBe("typed");
    expect(JSON.parse(client.text(3))).toEqual({ status: "Success" });
  });

  it.each(["v4.base64.channel.k8s.io", "base64.channel.k8s.io"])("speaks %s", async (protocol) => {
    const client = await exec("read line; echo got $line", protocol);
    client.socket.send(`0${Buffer.from("typed\n").toString("base64")}`);
    await client.closed;
    expect(client.text(1)).toBe("got typed\n");
    expect(client.text(3)).toBe(protocol.startsWith("v4") ? '{"status":"Success"}' : "");
  });

  it("speaks the first protocol to a client that names none", async () => {
    const client = await exec("exit 4");
    await client.closed;
    expect(client.text(3)).toBe("command terminated with non-zero exit code: 4");
  });

  it("prefers what the client prefers", async () => {
    const client = await exec("true", "v9.channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io");
    expect(client.socket.protocol).toBe("v4.channel.k8s.io");
    await client.closed;
  });
});

describe("port-forward", () => {
  it("connects each port of the request by two channels", async () => {
    const [name = ""] = readdirSync(join(server.dir, "netns"));
    const echo = `require("net").createServer((s) => s.once("data", (d) => s.end("echo " + d))).listen(7011, "127.0.0.1", () => console.log(1))`;
    const netns = `--net=${join(server.dir, "netns", name)}`;
    const service = spawn("nsenter", [netns, process.execPath, "-e", echo]);
    await once(service.stdout, "data");
    const { url } = await server.runtime.portForward({ podSandboxId: pod.id, port: [7011, 7012] });
    const client = await open(url, "v4.channel.k8s.io");
    client.socket.send(Buffer.from("\0hello"));
    await client.closed;
    const port = (number: number) => Buffer.of(number & 0xff, number >> 8).toString("latin1");
    expect(client.channels.get(0)?.toString("latin1")).toBe(`${port(7011)}echo hello`);
    expect(client.channels.get(1)?.toString("latin1")).toBe(port(7011));
    expect(client.channels.get(3)?.toString("latin1")).toContain(`${port(7012)}error forwarding port 7012`);
    service.kill("SIGKILL");
    await once(service, "close");
  });
});
